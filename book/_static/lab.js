/* Starts lab-page.js where there is a place for it. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const places = document.querySelectorAll(".lab");
  // On a narrow page these scroll.
  for (const each of document.querySelectorAll(".lab .drawing")) each.tabIndex = 0;
  const folder = document.querySelector('script[src*="lab.js"]').src.replace(/lab\.js.*$/, "");
  const load = (file) =>
    new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = folder + file;
      script.charset = "utf-8";
      script.onload = done;
      script.onerror = () => failed(new Error(`${file} did not load`));
      document.head.append(script);
    });
  let ready; // the scripts
  const start = async (place) => {
    try {
      ready ??= load("lab-run.js").then(() => load("lab-page.js"));
      await ready;
      await lab.play(place, load);
    } catch (error) {
      const note = document.createElement("p");
      note.className = "lab-note";
      note.setAttribute("role", "status");
      note.textContent = `The networks cannot run here: ${error.message}. What follows does not change.`;
      place.prepend(note);
    }
  };
  // Nothing is loaded before it is near.
  const near = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        start(target);
      }
    },
    { rootMargin: "200px" },
  );
  // But an address with a state is about a place.
  const asked = /[?#&]net=/.test(location.search + location.hash);
  places.forEach((place) => (asked && !place.dataset.piece ? start(place) : near.observe(place)));
});
