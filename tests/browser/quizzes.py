"""Answer the quizzes as a reader does: the reason comes for what was chosen, with the
keyboard as well, and nothing is kept.

    python tests/browser/quizzes.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from common import program
from playwright.sync_api import Page, sync_playwright

#: What is said of each choice: its words, what was said before, and what then.
CHOOSE = """question => [...question.querySelectorAll("input")].map(choice => {
  const status = question.querySelector("[role=status]");
  const before = status.innerText;
  choice.click();
  question.querySelector("button").click();
  return [choice.labels[0].textContent, before, status.innerText];
})"""

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "_build/html/book"


def answer(page: Page, name: str) -> list[str]:
    """What is wrong with the quiz of an open page: the first choice is made by keys."""
    faults = []
    questions = page.query_selector_all("fieldset.quiz")
    for number, question in enumerate(questions, 1):
        button = question.query_selector("button")
        status = question.query_selector("[role=status]")
        if button is None or status is None:
            return [f"{name}: the script of the quiz did not run"]
        button.click()
        if "Choose" not in status.inner_text():
            faults.append(f"{name} {number}: says nothing of no choice")
        question.query_selector("input").focus()
        page.keyboard.press("Space")
        button.focus()
        page.keyboard.press("Enter")
        answers = question.evaluate(CHOOSE)
        if answers[0][1] != answers[0][2]:
            faults.append(f"{name} {number}: keys get another reason")
        for words, _, said in answers:
            if words.split()[0] not in said or len(said) < 30:
                faults.append(f"{name} {number}: no reason for {words}: {said}")
        right = sum(said.startswith("Right.") for *_, said in answers)
        if right != 1:
            faults.append(f"{name} {number}: {right} right choices")
    kept = page.evaluate("Object.keys(localStorage).filter(k => k.includes('quiz'))")
    page.reload()
    if kept or page.query_selector("fieldset.quiz input:checked"):
        faults.append(f"{name}: something is kept")
    print(f"{name:15}{len(questions):3} questions, {len(faults)} faults", flush=True)
    return faults


def main() -> None:
    """Answer all of them."""
    pages = [p for p in sorted(BOOK.glob("*.html")) if 'class="quiz"' in p.read_text()]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program())
        page = browser.new_page()
        faults = []
        for path in pages:
            page.goto(path.as_uri())
            faults += answer(page, path.stem)
        browser.close()
    print("\n".join(faults))
    sys.exit(bool(faults) or not pages)


if __name__ == "__main__":
    main()
