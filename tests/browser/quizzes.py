"""Answer the quizzes as a reader does: the reason comes for what was chosen, with the
keyboard as well, and nothing is kept.

    python tests/browser/quizzes.py
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "_build/html/book"


def answer(page: Page, path: Path) -> list[str]:
    """What is wrong with the quiz of a page."""
    faults = []
    page.goto(path.as_uri())
    questions = page.query_selector_all("fieldset.quiz")
    for number, question in enumerate(questions, 1):
        button = question.query_selector("button")
        status = question.query_selector("[role=status]")
        if button is None or status is None:
            return [f"{path.stem}: the script of the quiz did not run"]
        button.click()
        if "Choose" not in status.inner_text():
            faults.append(f"{path.stem} {number}: says nothing of no choice")
        right = 0
        for choice in question.query_selector_all("input"):
            choice.focus()
            page.keyboard.press("Space")
            button.focus()
            page.keyboard.press("Enter")
            said = status.inner_text()
            right += said.startswith("Right.")
            words = page.evaluate("each => each.labels[0].textContent", choice)
            if words.split()[0] not in said or len(said) < 30:
                faults.append(f"{path.stem} {number}: no reason for {words}: {said}")
        if right != 1:
            faults.append(f"{path.stem} {number}: {right} right choices")
    kept = page.evaluate("Object.keys(localStorage).filter(k => k.includes('quiz'))")
    page.reload()
    if kept or page.query_selector("fieldset.quiz input:checked"):
        faults.append(f"{path.stem}: something is kept")
    print(
        f"{path.stem:15}{len(questions):3} questions, {len(faults)} faults", flush=True
    )
    return faults


def main() -> None:
    """Answer all of them."""
    pages = [p for p in sorted(BOOK.glob("*.html")) if 'class="quiz"' in p.read_text()]
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program)
        page = browser.new_page()
        faults = [fault for path in pages for fault in answer(page, path)]
        browser.close()
    print("\n".join(faults))
    sys.exit(bool(faults) or not pages)


if __name__ == "__main__":
    main()
