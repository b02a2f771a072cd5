// What is on a page, for suite.py. Images that wait until they are near are loaded first.
async () => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const images = all("img");
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map((image) => image.decode().catch(() => {})));

  const page = document.documentElement;
  const inside = (element) => {
    // Is there something between the element and the page that scrolls or hides it?
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (getComputedStyle(box).overflowX !== "visible") return true;
    }
    return false;
  };
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  // What is wider than the window, or than its place, when the page has come to rest.
  window.bookRoom = async () => {
    await frame();
    await frame();
    const wide = page.scrollWidth > page.clientWidth;
    return {
      cut: all("article table")
        .filter((table) => {
          const room = table.parentElement.clientWidth + 1;
          const width = table.getBoundingClientRect().width;
          return width > room || table.scrollWidth > table.clientWidth + 1;
        })
        .map((table) => `${table.scrollWidth} pixels of ${table.parentElement.clientWidth}: ${table.textContent.slice(0, 30)}`),
      wider: wide
        ? [
            `${page.scrollWidth} pixels of ${page.clientWidth}`,
            ...all("body *")
              .filter((each) => each.getBoundingClientRect().right > page.clientWidth + 1 && !inside(each))
              .map((each) => `${each.tagName.toLowerCase()}.${each.className}`)
              .slice(0, 5),
          ]
        : [],
    };
  };
  // Open a fold as a reader does; good if what was hidden is then there.
  const opens = (fold) => {
    if (fold.tagName === "DETAILS") {
      const before = fold.open;
      fold.querySelector("summary").click();
      const good = fold.open !== before;
      fold.open = true;
      return good && fold.lastElementChild.getClientRects().length > 0;
    }
    const hidden = fold.closest(".toggle").classList.contains("toggle-hidden");
    fold.click();
    return fold.closest(".toggle").classList.contains("toggle-hidden") !== hidden;
  };
  // All of them that can be seen, one after the other: in one there may be others.
  window.bookFolds = () =>
    all("details, button.toggle-button")
      .filter((fold) => !fold.matches("nav details"))
      .flatMap((fold) =>
        fold.checkVisibility({ visibilityProperty: true }) && fold.getClientRects().length ? [opens(fold)] : [],
      );
  // Mark the first text of each kind that was in no view before: its color, size and
  // weight, and what is behind it.
  // Code in which all is of a kind that was there before becomes plain text. (What has one
  // color in one theme may have two in the other: in code, each class is a kind.) So do
  // formulas become boxes of their size, and drawings lose what is not marked: axe looks at
  // each element of a page several times.
  const kinds = new Set();
  window.bookMark = () => {
    for (const element of all("body *")) {
      delete element.dataset.kind;
      const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
      if (!text || !element.checkVisibility?.()) continue;
      const style = getComputedStyle(element);
      let box = element;
      let behind = getComputedStyle(box);
      while (box.parentElement && behind.backgroundColor === "rgba(0, 0, 0, 0)" && behind.backgroundImage === "none") {
        box = box.parentElement;
        behind = getComputedStyle(box);
      }
      const kind = [
        style.color, style.fill, style.fontSize, style.fontWeight, style.opacity,
        behind.backgroundColor, behind.backgroundImage, element.closest("svg")?.getAttribute("class"),
        element.closest("pre, svg") && element.getAttribute("class"),
      ].join();
      if (!kinds.has(kind)) element.dataset.kind = kinds.size;
      kinds.add(kind);
    }
    for (const code of all("div.highlight pre")) {
      if (!code.querySelector("[data-kind]")) code.textContent = code.textContent;
    }
    const spared = (element) => !element.querySelector("[data-kind]") && element.checkVisibility();
    const boxes = all("mjx-container").filter((formula) => formula.firstChild && spared(formula));
    const sizes = boxes.map((formula) => formula.getBoundingClientRect());
    boxes.forEach((formula, k) => {
      const { width, height } = sizes[k];
      Object.assign(formula.style, { display: "inline-block", height: `${height}px`, width: `${width}px` });
      formula.replaceChildren();
    });
    for (const drawing of all("svg[role=img]").filter((each) => each.checkVisibility())) {
      for (const part of drawing.querySelectorAll(":not(title, desc, style, defs, defs *)")) {
        if (!part.matches("[data-kind]") && !part.querySelector("[data-kind]")) part.remove();
      }
    }
    // In signatures of the API nearly each word is an element; they come back, see below.
    for (const part of all(".sig :not(a, a *)")) {
      if (!part.isConnected || part.matches("[data-kind], [id]") || part.querySelector("[data-kind], [id], a")) continue;
      const text = new Text(part.textContent);
      part.replaceWith(text);
      replaced.push([text, part]);
    }
    return all("[data-kind]").length;
  };
  const replaced = [];
  // Signatures as they were: their words break elsewhere when they are plain text.
  window.bookUnmark = () => {
    for (const [text, part] of replaced.splice(0)) text.replaceWith(part);
  };
  // The same in the last view, in which the place of things is of no importance any more.
  window.bookPrune = () => {
    for (const element of all("body :not(style)")) {
      if (!element.matches("[data-kind], [data-kind] *, :has(style)") && !element.querySelector("[data-kind]")) element.remove();
    }
  };
  return {
    images: images.map((image) => ({
      src: image.src,
      loaded: image.complete && image.naturalWidth > 0,
      alt: image.alt.trim() !== "",
    })),
    drawings: all("svg[role=img]:not([data-icon])").map((drawing) => ({
      id: drawing.id || drawing.parentElement.className,
      name: drawing.querySelector("title")?.textContent ?? "",
    })),
    // Cards, the first page's block, the explorer and the cheat sheet are no figures.
    figures: all("article img, article svg[role=img]:not([data-icon])")
      .filter((each) => !each.closest(".sd-card, .front, .explorer, .cheatsheet, .drawing .bb-narrow"))
      .map((each) => ({
        what: each.src?.split("/").at(-1) ?? each.querySelector("title")?.textContent,
        caption: each.closest("figure")?.querySelector("figcaption")?.textContent ?? "",
      })),
    formulas: all(".math").map((formula) => ({
      source: formula.textContent.slice(0, 60),
      set: formula.querySelector("mjx-container") && !formula.querySelector("mjx-merror") ? true : false,
    })),
    codes: all("div.highlight pre").length,
    copies: all("button.copybtn").length,
    links: all("a[href]").map((link) => link.href),
    ids: all("[id]").map((each) => each.id),
  };
}
