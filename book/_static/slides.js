/* Starts a deck of slides (tools/slides.py) once its formulas are set: reveal.js hides what is
 * not shown, and what is hidden has no size. */
"use strict";

addEventListener("DOMContentLoaded", async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    controls: false,
    hash: true,
    slideNumber: "c/t",
    transition: "none",
    viewDistance: 1000,
    // The arrow keys belong to what is live on a slide while it has the focus.
    keyboardCondition: () => !document.activeElement?.closest(".playground, .explorer, .lab"),
    plugins: [RevealNotes],
  });
  document.body.dataset.ready = "";
});
