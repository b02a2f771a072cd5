"""What the pages of the book are made of: the ledger and its expressions, the cheat
sheet, recorded results, and the source of the library.
"""
