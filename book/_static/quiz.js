/* Quizzes of the chapters: tools/sphinx_teaching.py. Without this script, the answers are folded
 * below each question. What was chosen is kept nowhere but in the page. */
"use strict";

const bookQuiz = {
  /** A button that says why what was chosen is right or not. */
  prepare(question) {
    const answers = question.querySelector("details");
    const reasons = [...answers.querySelectorAll("p")];
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Check";
    const status = document.createElement("div");
    status.setAttribute("role", "status");
    button.addEventListener("click", () => {
      const chosen = question.querySelector("input:checked");
      const reason = reasons.find((each) => each.dataset.for === chosen?.id);
      question.dataset.checked = "";
      status.replaceChildren(reason?.cloneNode(true) ?? "Choose one first.");
    });
    question.addEventListener("change", () => status.replaceChildren());
    answers.before(button, status);
    answers.querySelector("summary").textContent = "All choices, with reasons";
  },
};

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("fieldset.quiz").forEach(bookQuiz.prepare);
  });
}
