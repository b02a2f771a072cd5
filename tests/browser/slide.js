// What is wrong with the slide that is shown, for slides.py; `smallest` is in pixels.
(smallest) => {
  const slide = Reveal.getCurrentSlide();
  const frame = slide.getBoundingClientRect();
  const body = slide.querySelector(".body").getBoundingClientRect();
  const faults = [];
  const name = (each) => `${each.tagName} ${each.textContent.trim().replace(/\s+/g, " ").slice(0, 40)}`;
  const shown = [...slide.querySelectorAll("h2, .body *")].filter(
    (each) => each.getClientRects().length && !each.closest("mjx-assistive-mml, desc, title, style"));
  for (const each of shown) {
    if (each.closest(".live") && !each.matches(".live")) continue;
    if (each.closest("svg") && !each.matches("svg")) continue;  // strips of a drawing
    const box = each.getBoundingClientRect();
    if (each.closest("mjx-container") && !each.matches("mjx-container")) continue;
    const low = each.matches("h2") ? frame.bottom : body.bottom;
    if (box.right > frame.right - 8 || box.bottom > low + 3 || box.left < frame.left
        || box.top < frame.top)
      faults.push(`cut: ${name(each)} ${Math.round(box.right)} ${Math.round(box.bottom)}`);
  }
  for (const each of shown) {
    const words = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words) continue;
    let size = parseFloat(getComputedStyle(each).fontSize);
    const svg = each.closest("svg");
    if (svg && svg.viewBox.baseVal?.width)
      size *= svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    if (size < smallest - 0.1 && !each.closest("mjx-container, sub, sup"))
      faults.push(`${size.toFixed(1)} px: ${name(each)}`);
  }
  for (const image of slide.querySelectorAll("img")) {
    if (!image.naturalWidth) faults.push(`no image: ${image.src}`);
    else if (image.getBoundingClientRect().height < 180)
      faults.push(`small image: ${Math.round(image.getBoundingClientRect().height)} px`);
    if (!image.alt) faults.push("no alt text");
  }
  for (const box of slide.querySelectorAll("pre, .body, figure"))
    if (box.scrollWidth > box.clientWidth + 1) faults.push(`wider than its place: ${name(box)}`);
  for (const pre of slide.querySelectorAll("pre:not(.output)"))
    if (pre.textContent.trimEnd().split("\n").length > 12) faults.push("code of more than 12 lines");
  if (slide.querySelector("mjx-merror")) faults.push("formula not set");
  for (const math of slide.querySelectorAll(".math"))
    if (!math.closest("aside") && !math.querySelector("mjx-container"))
      faults.push(`formula not set: ${math.textContent.slice(0, 30)}`);
  return [...new Set(faults)];
}
