/* The page on which networks run: what readers see and change. What is computed is in lab-run.js;
 * course_lib/pages/lab.py writes the table that stands here without scripts. */
"use strict";

lab.classes = [
  ...["T-shirt", "trouser", "pullover", "dress", "coat"],
  ...["sandal", "shirt", "sneaker", "bag", "ankle boot"],
];

/** The networks of the course: what their files are called, how large they are (kB), their names. */
lab.files = {
  lenet: [80, "LeNet modern"],
  alexnet: [449, "AlexNet"],
  zfnet: [373, "ZFNet"],
  vgg: [486, "VGG"],
  nin: [201, "NiN"],
  googlenet: [247, "GoogLeNet"],
  plain: [371, "Plain twin of ResNet"],
  resnet: [389, "ResNet"],
};

/** What the files of images call. */
lab.addImages = ({ labels, data }) => {
  lab.gallery = lab.images(data, 784).map((bytes, k) => ({ bytes, label: labels[k] }));
};

/** What the files of drawings fill. */
lab.drawings = {};

lab.element = (name, attributes = {}, ...content) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...content);
  return made;
};

/** A number as one reads it. */
lab.number = (value, digits = 3) => {
  if (!Number.isFinite(value)) return "not a number";
  const text = value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(digits);
  return text.replace("-", "\u2212");
};

lab.percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}\u00a0%`;

/** Draws maps on one scale: the ground for 0, one color for what is above, another for below. */
lab.painter = (container) => {
  const style = getComputedStyle(container);
  const color = (name) => {
    const text = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  };
  const ofMaps = ["--lab-ground", "--lab-above", "--lab-below"].map(color);
  const ofImages = [[0, 0, 0], [255, 255, 255], [0, 0, 0]];
  /** Maps side by side on a canvas, so many in a row, each of `rows` times `columns` numbers; those
   * in `off` are struck through. With `gray`, an image from black to white. */
  return (canvas, values, count, rows, columns, across, largest, { off = [], gray = false } = {}) => {
    const [ground, above, below] = gray ? ofImages : ofMaps;
    const down = Math.ceil(count / across);
    const gap = across > 1 ? 1 : 0;
    canvas.width = across * (columns + gap) - gap;
    canvas.height = down * (rows + gap) - gap;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    for (let c = 0; c < count; c += 1) {
      const top = Math.floor(c / across) * (rows + gap);
      const left = (c % across) * (columns + gap);
      for (let i = 0; i < rows * columns; i += 1) {
        const value = values[c * rows * columns + i];
        const share = Math.min(Math.abs(value) / largest, 1) || 0;
        const end = value < 0 ? below : above;
        const at = 4 * ((top + Math.floor(i / columns)) * canvas.width + left + (i % columns));
        for (let k = 0; k < 3; k += 1) pixels.data[at + k] = ground[k] + share * (end[k] - ground[k]);
        pixels.data[at + 3] = 255;
        const [row, column] = [Math.floor(i / columns), i % columns];
        if (off.includes(c) && Math.round((row * columns) / rows) === column) {
          for (let k = 0; k < 3; k += 1) pixels.data[at + k] = below[k];
        }
      }
    }
    context.putImageData(pixels, 0, 0);
  };
};

/** Put what readers can change in the place of the table in `container`, which stays below. */
lab.play = async (container, load) => {
  const { element, number, percent } = lab;
  const still = element("div", { class: "lab-still" }, ...container.childNodes);
  const place = element("div", { class: "lab-live" });
  container.append(place, still);

  const whole = !container.dataset.piece;
  const address = location.hash.slice(1) || location.search.slice(1);
  let state = lab.parse(whole && address.includes("net=") ? address : container.dataset.state);
  let net; // that is shown
  let clean; // what its operations make of the image as it is
  let now; // and of the image as it was changed, with what is switched off
  let painted = lab.painter(container);
  let running; // the measurement, if there is one
  let mine; // the bytes of an image that the reader has drawn or brought
  const current = () => {
    const { bytes, label } = lab.gallery[state.image];
    if (mine) return { bytes: mine, label: -1, title: "Your image" };
    return { bytes, label, title: `Test image ${state.image}, ${lab.classes[label]}` };
  };
  let striped = []; // the stages that have a strip
  const opened = {}; // networks by name

  /* ---- What there is. ---- */

  const button = (text, action, more = {}) =>
    element("button", { type: "button", onclick: action, ...more }, text);
  const labeled = (text, ...content) => element("label", {}, element("span", {}, text), ...content);

  const status = element("p", { class: "lab-verdict", role: "status" });
  const trouble = element("p", { class: "lab-note", role: "alert" });
  const shown = element("canvas", { class: "lab-image", role: "img" });
  const gallery = element("div", { class: "lab-gallery", role: "group", "aria-label": "Test images" });
  const more = button("All 200 images", async () => {
    if (!(await loaded("images.js"))) return;
    more.hidden = true;
    fillGallery();
  });
  const chosenNet = element("select", { onchange: () => choose(chosenNet.value) });
  for (const [name, [size, title]] of Object.entries(lab.files)) {
    chosenNet.append(element("option", { value: name }, `${title} (${size} kB)`));
  }
  const own = element("input", { type: "file", accept: ".js", onchange: () => openFile(own.files[0]) });
  const back = button("Put everything back", () => {
    state = { ...lab.parse(""), net: state.net, image: state.image, at: state.at };
    renew();
  });
  const link = button("Copy the address", async () => {
    await navigator.clipboard.writeText(location.href);
    link.textContent = "Copied";
    setTimeout(() => (link.textContent = "Copy the address"), 1500);
  });

  const sliders = {};
  const slider = (name, text, step, write) => {
    const [least, most] = lab.settings[name];
    const output = element("output", {});
    const input = element("input", { type: "range", min: least, max: most, step, oninput: () => {
      state[name] = input.valueAsNumber;
      output.textContent = write(state[name]);
      update();
    } });
    const label = element("label", {}, element("span", {}, text, " ", output), input);
    const refresh = () => {
      input.value = state[name];
      output.textContent = write(state[name]);
    };
    sliders[name] = { label, refresh };
    return label;
  };
  const signed = (value) => (value > 0 ? `+${value}` : number(value, 0));
  const pixels = (value) => `${signed(value)} ${Math.abs(value) === 1 ? "pixel" : "pixels"}`;
  const cover = element("select", { onchange: () => coverWith(cover.value) });
  for (const [value, text] of Object.entries({ off: "none", 0: "black", 0.5: "gray", 1: "white" })) {
    cover.append(element("option", { value }, text));
  }
  const corner = {};
  for (const [name, least, most] of [["row", 0, 27], ["column", 0, 27], ["size", 1, 28]]) {
    corner[name] = element("input", { type: "number", min: least, max: most, oninput: () => {
      const value = Math.min(Math.max(Math.round(corner[name].valueAsNumber), least), most);
      if (!state.cover || !Number.isFinite(value)) return;
      state.cover = { ...state.cover, [name]: value };
      update();
    } });
  }
  const coverWith = (shade) => {
    const before = state.cover ?? { row: 10, column: 10, size: 8 };
    state.cover = shade === "off" ? undefined : { ...before, shade: Number(shade) };
    renew();
  };
  const where = element("span", { class: "lab-corner" }, ...Object.entries(corner).map(([name, each]) => labeled(name, each)));
  const coverLabel = labeled("Cover with a square", cover);
  const changeImage = element(
    "fieldset",
    {},
    element("legend", {}, "Change the image"),
    slider("right", "Shift right", 1, pixels),
    slider("down", "Shift down", 1, pixels),
    slider("turn", "Turn", 5, (value) => `${signed(value)}\u00b0`),
    slider("noise", "Noise", 0.1, (value) => `${number(value, 1)} standard deviations`),
    slider("contrast", "Contrast", 0.1, (value) => number(value, 1)),
    coverLabel,
    where,
  );

  /* An image of one's own: drawn, or a photograph, which is read here and sent nowhere. */
  const pen = { row: 14, column: 14 };
  const pad = element("canvas", { class: "lab-image", tabindex: 0, role: "application", "aria-label": "Draw: arrow keys move the pen, the space bar paints, the delete key rubs out" });
  const paintPad = () => {
    painted(pad, mine ?? new Uint8Array(784), 1, 28, 28, 1, 255, { gray: true });
    pad.getContext("2d").fillStyle = "rgb(255 160 0 / 60%)";
    pad.getContext("2d").fillRect(pen.column, pen.row, 1, 1);
  };
  const dab = (row, column, value) => {
    Object.assign(pen, { row, column });
    mine ??= new Uint8Array(784);
    for (let i = row - 1; i <= row + 1; i += 1) {
      for (let k = column - 1; k <= column + 1; k += 1) {
        const soft = i === row || k === column ? 1 : 0.5;
        if (i < 0 || i > 27 || k < 0 || k > 27) continue;
        const was = mine[28 * i + k];
        mine[28 * i + k] = value ? Math.max(was, soft * value) : Math.min(was, 255 * (1 - soft));
      }
    }
    paintPad();
    renew();
  };
  pad.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (move) {
      pen.row = Math.min(Math.max(pen.row + move[0], 0), 27);
      pen.column = Math.min(Math.max(pen.column + move[1], 0), 27);
      paintPad();
    } else if (event.key === " ") dab(pen.row, pen.column, 230);
    else if (event.key === "Delete" || event.key === "Backspace") dab(pen.row, pen.column, 0);
    else return;
    event.preventDefault();
  });
  const stroke = (event) => {
    const box = pad.getBoundingClientRect();
    const at = (offset, size) => Math.min(Math.max(Math.floor((28 * offset) / size), 0), 27);
    dab(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width), event.shiftKey ? 0 : 230);
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && stroke(event));
  const steps = { square: ["the square in the middle", true], invert: ["light and dark exchanged", true], stretch: ["range stretched", true] };
  const stepBoxes = Object.entries(steps).map(([name, [text, on]]) => {
    const box = element("input", { type: "checkbox", checked: on, onchange: () => develop() });
    steps[name] = box;
    return element("label", {}, box, ` ${text}`);
  });
  let photo; // its pixels
  const develop = () => {
    if (!photo) return;
    const asked = Object.fromEntries(Object.entries(steps).map(([name, box]) => [name, box.checked]));
    mine = lab.photograph(photo.data, photo.width, photo.height, asked);
    paintPad();
    renew();
  };
  const camera = element("input", { type: "file", accept: "image/*", onchange: async () => {
    if (!camera.files[0]) return;
    try {
      const bitmap = await createImageBitmap(camera.files[0]);
      const scale = Math.min(1, 560 / Math.min(bitmap.width, bitmap.height));
      const canvas = element("canvas", {});
      [canvas.width, canvas.height] = [bitmap.width * scale, bitmap.height * scale].map(Math.round);
      const context = canvas.getContext("2d");
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      photo = context.getImageData(0, 0, canvas.width, canvas.height);
      develop();
    } catch {
      trouble.replaceChildren(`${camera.files[0].name} is no image that this browser can read.`);
    }
  } });
  const empty = button("Empty it", () => {
    mine = new Uint8Array(784);
    paintPad();
    renew();
  });
  const ownImage = element(
    "details",
    { ontoggle: () => paintPad() },
    element("summary", {}, "An image of your own"),
    element("div", { class: "lab-top" }, pad, element("div", {},
      element("p", {}, "Draw with a finger, a mouse (with shift it rubs out) or the keyboard. Or choose a photograph: it is read in this page and sent nowhere. What is done to it, step by step: gray, the mean of what is under each of 28 by 28 pixels, and"),
      element("div", { class: "lab-row lab-board" }, ...stepBoxes),
      element("div", { class: "lab-row" }, labeled("Photograph", camera), empty))),
  );

  const heads = (titles) =>
    element("thead", {}, element("tr", {}, ...titles.map((text) => element("th", { scope: "col" }, text))));
  const answerRow = (head, answer, label, ...cells) => {
    const wrong = answer !== label;
    const said = `${names()[answer] ?? "no number"}${wrong && current().label >= 0 ? " (wrong)" : ""}`;
    return element("tr", { class: wrong ? "wrong" : "" }, element("th", { scope: "row" }, head), ...[said, ...cells].map((text) => element("td", {}, text)));
  };
  const bars = element("tbody", {});
  const probabilities = element(
    "table",
    { class: "lab-bars" },
    element("caption", {}, "Probabilities"),
    heads(["class", "before", "now"]),
    bars,
  );
  const off = element("div", { class: "lab-off" });
  const drawing = element("div", { class: "lab-drawing drawing" });
  const strips = element("div", { class: "lab-strips" });
  const legend = element("p", { class: "lab-legend" });
  const board = element("fieldset", { class: "lab-board" });
  const mapsOf = element("select", { onchange: () => look(Number(mapsOf.value)) });
  const acts = element("select", {});
  for (const [value, text] of Object.entries({ look: "look at it", off: "switch it off or on", only: "leave it alone on" })) {
    acts.append(element("option", { value }, text));
  }
  const half = button("Every second map off", () => {
    const op = net.ops[state.at[0]];
    const already = lab.changed(state.changes, op.index, "off", 1);
    for (let c = 1; c < op.channels; c += 2) lab.change(state.changes, op.index, "off", c, !already);
    update();
  });
  const otherMaps = button("Exchange on and off", () => {
    state.changes = lab.exchanged(net.ops[state.at[0]], state.changes);
    update();
  });
  const view = element("select", { onchange: () => paintMaps() });
  for (const text of ["now", "before", "difference"]) view.append(element("option", {}, text));
  const maps = element("div", { class: "lab-maps", role: "group", "aria-label": "Feature maps", onkeydown: (event) => walk(event, maps) });
  const mapsLegend = element("p", { class: "lab-legend" });
  const spot = {};
  for (const name of ["map", "row", "column"]) {
    spot[name] = element("input", { type: "number", min: 0, oninput: () => {
      const value = spot[name].valueAsNumber;
      if (!Number.isInteger(value) || value < 0 || value > Number(spot[name].max)) return;
      state.at[{ map: 1, row: 2, column: 3 }[name]] = value;
      update();
    } });
  }
  const input = element("select", { onchange: () => explain() });
  const sum = element("div", { class: "lab-sum" });
  const spotLabels = Object.entries(spot).map(([name, each]) => labeled(name, each));
  const inputLabel = labeled("input map", input);
  const many = element("div", { class: "lab-many" });
  const measureButton = button("Measure on 200 images", () => measure(), { class: "lab-measure" });
  const stop = button("Stop", () => (running = undefined), { hidden: true });
  const bar = element("progress", { max: 200, value: 0, hidden: true, "aria-label": "Images measured" });
  const measured = element("div", { class: "lab-measured", role: "status" });
  const kinds = element("select", { onchange: () => costs.firstChild && compare() });
  const costsButton = button("Each part off, one at a time", () => compare(), { class: "lab-compare" });
  const costs = element("div", { class: "lab-eight lab-costs" });
  const costsTold = element("p", { role: "status" });
  const cloud = element("canvas", { class: "lab-image", role: "img", hidden: true });
  const evidence = element("p", { class: "lab-evidence", role: "status" });
  const seek = button("Where is the evidence? Cover every part in turn", () => occlude());
  const total = Object.values(lab.files).reduce((all, [size]) => all + size, 0);
  const eightButton = button(`All eight networks on this image (${(total / 1000).toFixed(1)} MB)`, () => eight());
  const eightMeasure = button("Measure all eight on 200 images", () => measureEight(), { hidden: true });
  const table = element("div", { class: "lab-eight" });

  const section = (text, ...content) => element("section", {}, element("h3", {}, text), ...content);
  /** A part of all that, in another page: what its `data-piece` names, and a link to the rest. */
  const piece = JSON.parse(container.dataset.piece ?? "null");
  const arrange = () => {
    const inputs = ["right", "down", "turn", "noise", "contrast"].filter((name) => piece.controls.includes(name));
    const own_ = inputs.map((name) => sliders[name].label);
    if (piece.controls.includes("cover")) own_.push(coverLabel, where);
    const there = element("a", {}, "Open in the lab");
    // Slides stand in another folder than the page.
    const page = still.querySelector("a[href*='lab.html']").getAttribute("href").split("?")[0];
    place.classList.add("lab-piece");
    place.append(trouble);
    if (piece.ask) place.append(question());
    place.append(
      element("div", { class: "lab-top" }, shown, element("div", {}, gallery)),
      element("div", { class: "lab-answer" }, status, off),
    );
    if (own_.length) place.append(element("fieldset", { class: "lab-row" }, element("legend", {}, "Change the image"), ...own_));
    if (piece.switches.length) place.append(board);
    place.append(strips);
    if (piece.value) place.append(element("div", { class: "lab-row" }, ...spotLabels, inputLabel), sum);
    if (piece.evidence) place.append(element("div", { class: "lab-row" }, seek), cloud, evidence);
    const buttons = [...(piece.measure ? [measureButton] : []), ...(piece.eight ? [eightButton, eightMeasure] : [])];
    if (buttons.length || piece.evidence) place.append(element("div", { class: "lab-row" }, ...buttons, stop, bar), measured, table);
    if (piece.ask) lock(true);
    place.append(element("p", {}, there, ", where there is more of it. ", back));
    for (const event of ["pointerdown", "focus"]) {
      there.addEventListener(event, () => (there.href = `${page}?${lab.write(state)}`));
    }
    there.href = `${page}?${container.dataset.state}`;
  };
  /** A question comes first: what changes something opens with an answer, which is not kept. */
  const question = () => {
    const told = element("p", { role: "status" });
    const group = element("fieldset", { class: "lab-question" }, element("legend", {}, piece.ask));
    for (const text of piece.answers) {
      group.append(button(text, () => {
        lock(false);
        told.textContent = `Your guess: ${text}. Now try it.`;
      }));
    }
    group.append(told);
    return group;
  };
  const lock = (is) => {
    place.classList.toggle("lab-locked", is);
    const all = [...place.querySelectorAll("fieldset:not(.lab-question)"), measureButton, eightButton, seek];
    for (const each of all) each.disabled = is;
  };
  if (piece) arrange();
  else place.append(
    trouble,
    section(
      "The image and the answer",
      element("div", { class: "lab-row" }, labeled("Network", chosenNet), labeled("or one of your own, from a file", own), back, link),
      element("div", { class: "lab-top" }, shown, element("div", {}, gallery, more)),
    ),
    element("div", { class: "lab-answer" }, status, off),
    ownImage,
    changeImage,
    probabilities,
    section("Inside", element("p", {}, "Choose a stage, in the drawing or below it, to switch off what it consists of."), drawing, strips, legend),
    section(
      "One stage",
      board,
      element("div", { class: "lab-row" }, labeled("Maps after", mapsOf), labeled("A click on a map", acts), labeled("Show", view), half, otherMaps),
      maps,
      mapsLegend,
    ),
    section("What each part costs", element("div", { class: "lab-row" }, labeled("Parts", kinds), costsButton), costsTold, costs),
    section(
      "One value",
      element("div", { class: "lab-row" }, ...spotLabels, inputLabel),
      sum,
    ),
    section("Where the evidence is", element("div", { class: "lab-row" }, seek), cloud, evidence),
    section("On 200 test images", element("div", { class: "lab-row" }, measureButton, stop, bar), measured, many),
    section("All eight", element("div", { class: "lab-row" }, eightButton, eightMeasure), table),
  );

  /* ---- Files. ---- */

  /** Load a file of the folder of networks; say so if that fails. */
  const loaded = async (file) => {
    try {
      await load(`lab/${file}`);
      trouble.replaceChildren();
      return true;
    } catch (error) {
      const again = button("Try again", () => (file.startsWith("images") ? more.click() : choose(file.replace(".js", ""))));
      trouble.replaceChildren(`${error.message}. `, again);
      return false;
    }
  };
  const open = async (name) => {
    if (opened[name]) return opened[name];
    if (!lab.programs[name] && (!(name in lab.files) || !(await loaded(`${name}.js`)))) return undefined;
    opened[name] = lab.open(lab.programs[name]);
    opened[name].stages = lab.stages(opened[name]);
    return opened[name];
  };
  /** A network that a reader has exported: the file is read, not run. */
  const openFile = async (file) => {
    if (!file) return;
    try {
      const text = (await file.text()).trim();
      if (!/^lab\.add\(\{.*\}\);$/s.test(text)) throw new Error("it was not written by course_lib.lab.export");
      const program = JSON.parse(text.slice(8, -2));
      if (program.input.join() !== "1,28,28") throw new Error(`it takes images of ${program.input.join("\u00d7")}, and those here are 1\u00d728\u00d728`);
      program.name = `own-${program.name}`;
      delete program.drawing; // which would be a part of the page, whatever it is
      lab.open(program);
      delete opened[program.name];
      lab.add(program);
      if (![...chosenNet.options].some(({ value }) => value === program.name)) {
        chosenNet.append(element("option", { value: program.name }, program.title));
      }
      await choose(program.name);
    } catch (error) {
      trouble.replaceChildren(`${file.name} cannot be opened: ${error.message}.`);
    }
  };

  /* ---- What readers choose. ---- */

  const choose = async (name) => {
    const found = await open(name);
    if (!found) {
      chosenNet.value = state.net;
      return;
    }
    if (name !== state.net) state = { ...state, changes: [], at: undefined };
    state.net = name;
    show(found);
  };
  const show = (found) => {
    net = found;
    running = undefined;
    const { good, bad } = lab.possible(net, state.changes);
    state.changes = good;
    if (bad) trouble.replaceChildren(`${bad} of the changes in the address are none that ${net.title} has.`);
    const given = state.at;
    if (!given || !net.ops[given[0]]) state.at = [Math.max(net.ops.findIndex(({ kind }) => kind === "conv"), 0), 0, 0, 0];
    if (whole) {
      drawNetwork();
      fillKinds();
    }
    striped = net.stages.filter(({ name }) => !piece || piece.show.includes(name));
    strips.replaceChildren(...striped.map(makeStrip));
    fillBoard();
    sync();
    compute();
    if (!given) look(state.at[0]);
    update();
  };
  /** The drawing that stands here without scripts is there already; others are files. */
  const drawNetwork = async () => {
    const name = state.net;
    drawing.replaceChildren();
    if (!(name in lab.files)) return;
    if (name === lab.parse(container.dataset.state).net) {
      drawing.append(still.querySelector(".drawing svg").cloneNode(true));
      for (const each of drawing.querySelectorAll("[id]")) {
        each.dataset.path = each.id.replace(/^bb-\w+?-(.+?)(-\d+)?$/, "$1");
        each.removeAttribute("id");
      }
      markStage();
      return;
    }
    try {
      if (!lab.drawings[name]) await load(`lab/drawings/${name}.js`);
    } catch ({ message }) {
      trouble.append(`${message}. `);
    }
    if (name !== state.net || !lab.drawings[name]) return; // or another was chosen
    drawing.replaceChildren(
      ...Object.entries(lab.drawings[name]).map(([form, svg]) => {
        const made = element("div", { class: `bb-${form}` });
        made.innerHTML = svg;
        return made;
      }),
    );
    markStage();
  };
  const sync = () => {
    chosenNet.value = state.net;
    for (const { refresh } of Object.values(sliders)) refresh();
    cover.value = state.cover ? String(state.cover.shade) : "off";
    where.hidden = !state.cover;
    for (const [name, each] of Object.entries(corner)) each.value = state.cover?.[name] ?? "";
    gallery.querySelectorAll("button").forEach((each, k) => each.setAttribute("aria-pressed", !mine && k === state.image));
  };
  const renew = () => {
    sync();
    update();
  };
  const pick = (k) => {
    mine = undefined;
    state.image = k;
    renew();
  };
  const fillGallery = () => {
    gallery.replaceChildren(
      ...lab.gallery.map(({ bytes, label }, k) => {
        const canvas = element("canvas", { "aria-hidden": "true" });
        painted(canvas, bytes, 1, 28, 28, 1, 255, { gray: true });
        return element("button", { type: "button", "aria-pressed": !mine && k === state.image, "aria-label": `image ${k}: ${lab.classes[label]}`, title: `${k}: ${lab.classes[label]}`, onclick: () => pick(k) }, canvas);
      }),
    );
    roving(gallery);
  };
  gallery.addEventListener("keydown", (event) => walk(event, gallery));

  /** Of a group of buttons one has a place in the order of the tab key; arrows lead to others. */
  const roving = (group) => {
    const all = [...group.querySelectorAll("button")];
    const first = all.find((each) => each.getAttribute("aria-pressed") === "true") ?? all[0];
    for (const each of all) each.tabIndex = each === first ? 0 : -1;
  };
  const walk = (event, group) => {
    const all = [...group.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    const top = all[at]?.offsetTop;
    const across = all.filter((each) => each.offsetTop === top).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -at, End: all.length - 1 - at }[event.key];
    if (at < 0 || step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const to = all[Math.min(Math.max(at + step, 0), all.length - 1)];
    for (const each of all) each.tabIndex = each === to ? 0 : -1;
    to.focus();
  };

  const stageOf = (op) => net.stages.find(({ ops }) => ops.some(({ index }) => index === op));
  /** Look at what an operation makes. */
  const look = (op, map = 0) => {
    const other = stageOf(op) !== stageOf(state.at[0]);
    const values = now[op];
    const { area, columns } = net.ops[op];
    let best = map * area; // the largest number of the map
    for (let i = map * area; i < (map + 1) * area; i += 1) if (values[i] > values[best]) best = i;
    const i = best - map * area;
    state.at = [op, map, Math.floor(i / columns), i % columns];
    if (other) fillBoard();
    update();
  };
  const makeStrip = (stage) => {
    const canvas = element("canvas", { role: "img", onclick: (event) => {
      const { channels, rows, columns } = stage.ops.at(-1);
      const across = Number(canvas.dataset.across);
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * across);
      const row = Math.floor(((event.clientY - box.top) / box.height) * Math.ceil(channels / across));
      look(stage.ops.at(-1).index, Math.min(row * across + column, channels - 1), rows, columns);
    } });
    const name = button(stage.name, () => look(stage.ops.at(-1).index));
    return element("div", { class: "lab-strip" }, element("div", {}, name, element("span", {})), canvas);
  };
  const fillBoard = () => {
    const stage = stageOf(state.at[0]);
    const title = element("legend", {}, `Parts of ${stage.name} that are on`);
    const all = lab.switches(net, stage).filter(({ text }) => !piece || piece.switches.includes(text));
    const switches = all.map(({ text, change }) => {
      const [name, value] = Object.entries(change)[1];
      const numeral = [value].flat()[0];
      const box = element("input", { type: "checkbox", onchange: () => {
        lab.change(state.changes, change.op, name, numeral, !box.checked);
        update();
      } });
      box.refresh = () => (box.checked = !lab.changed(state.changes, change.op, name, numeral));
      return element("label", {}, box, ` ${text}`);
    });
    const none = switches.length ? [] : [element("p", {}, "There is nothing to switch in this stage but its maps.")];
    const everywhere = ["norm", "shortcut", "residual branch"].filter((kind) => !piece || piece.switches.includes(`every ${kind}`));
    const joins = new Set(all.filter(({ change }) => change.drop).map(({ change }) => net.ops[change.op]));
    const swapped = all.length > 1 && joins.size ? [swap([...joins])] : [];
    board.replaceChildren(title, ...switches, ...swapped, ...none, ...everywhere.map(forAll).filter(Boolean));
    mapsOf.replaceChildren(...stage.ops.map((op) => element("option", { value: op.index }, lab.title(op))));
  };
  const swap = (joins) => {
    const some = () => joins.filter((op) => lab.gone(op, state.changes, "drop").length);
    const made = button("Exchange on and off", () => {
      for (const op of some()) state.changes = lab.exchanged(op, state.changes, "drop");
      update();
    });
    made.refresh = () => (made.disabled = !some().length);
    return made;
  };
  /** One switch for all of a kind in the network. */
  const forAll = (kind) => {
    const word = kind === "norm" ? "batch normalization" : kind;
    const all = net.stages.flatMap((stage) => lab.switches(net, stage)).filter((each) => each.kind === word);
    if (all.length < 2) return undefined;
    const entries = all.map(({ change }) => [change.op, ...Object.entries(change)[1]]);
    const box = element("input", { type: "checkbox", onchange: () => {
      for (const [op, name, value] of entries) lab.change(state.changes, op, name, [value].flat()[0], !box.checked);
      update();
    } });
    box.refresh = () => {
      const gone = entries.filter(([op, name, value]) => lab.changed(state.changes, op, name, [value].flat()[0]));
      box.checked = !gone.length;
      box.indeterminate = gone.length > 0 && gone.length < entries.length;
    };
    return element("label", { class: "lab-all" }, box, ` in the whole network: every ${word}`);
  };

  /* ---- What is shown of it. ---- */

  const largestOf = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0) || 1;
  const names = () => (net.ops.at(-1).length === 10 ? lab.classes : Array.from({ length: net.ops.at(-1).length }, (_, k) => `class ${k}`));
  let waiting = false;
  let spoken;
  /** Compute and show everything anew, at most once a frame. */
  const update = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      compute();
      paint();
      outdated();
      if (table.firstChild) {
        if (measuredWith !== settings()) accuracies = {};
        eight();
      }
      if (whole) history.replaceState(null, "", `#${lab.write(state)}`);
    });
  };
  /** What was measured before something was changed says so. */
  const outdated = () => {
    for (const [box, of] of [[costs, answered], [measured, measurable]]) {
      if (!box.firstChild || box.dataset.of === of() || box.classList.contains("lab-old")) continue;
      box.classList.add("lab-old");
      box.prepend(element("p", {}, "Measured before the last change. Measure again for what is set now."));
    }
  };
  const altered = () => lab.altered(current().bytes, { ...state, seed: state.image });
  const compute = () => {
    state.image = Math.min(state.image, lab.gallery.length - 1);
    clean = lab.run(net, lab.altered(current().bytes));
    const start = performance.now();
    now = lab.run(net, altered(), state.changes);
    place.dataset.milliseconds = performance.now() - start;
  };
  const paint = () => {
    const [before, after] = [clean, now].map((values) => lab.softmax(values.at(-1)));
    paintImage();
    paintVerdict(before, after);
    bars.replaceChildren(
      ...names().map((name, k) =>
        element("tr", {}, element("th", { scope: "row" }, name), ...[before[k], after[k]].map((share, i) =>
          element("td", { style: `--share: ${100 * (share || 0)}%`, class: i ? "now" : "before" }, Number.isNaN(share) ? "not a number" : percent(share)))),
      ),
    );
    paintOff();
    striped.forEach(paintStrip);
    markStage();
    board.querySelectorAll("input, button").forEach((each) => each.refresh());
    mapsOf.value = state.at[0];
    paintMaps();
    explain();
  };
  const markStage = () => {
    drawing.querySelectorAll(".bb-stage").forEach((each) => {
      each.classList.toggle("chosen", each.dataset.path === stageOf(state.at[0]).name);
    });
  };

  const paintImage = () => {
    const x = altered();
    const [mean, deviation] = lab.normalization;
    const bytes = x.map((value) => Math.min(Math.max(value * deviation + mean, 0), 1));
    painted(shown, bytes, 1, 28, 28, 1, 1, { gray: true });
    const [op, , row, column] = state.at;
    const seen = lab.field(net, op, Math.min(row, net.ops[op].rows - 1), Math.min(column, net.ops[op].columns - 1));
    // The frame of the receptive field: on a canvas of four times the size.
    const copy = element("canvas", {});
    [copy.width, copy.height] = [28, 28];
    copy.getContext("2d").drawImage(shown, 0, 0);
    [shown.width, shown.height] = [224, 224];
    const context = shown.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(copy, 0, 0, 224, 224);
    const [top, bottom, left, right] = seen;
    context.strokeStyle = getComputedStyle(container).getPropertyValue("--lab-frame");
    context.lineWidth = 3;
    if (!piece?.eight) context.strokeRect(8 * left + 1.5, 8 * top + 1.5, 8 * (right - left + 1) - 3, 8 * (bottom - top + 1) - 3);
    shown.setAttribute("aria-label", `${current().title}, as it was changed. The frame is what the chosen number sees: rows ${top} to ${bottom}, columns ${left} to ${right}.`);
  };
  const paintVerdict = (before, after) => {
    const [was, is] = [clean, now].map((values) => lab.answer(values.at(-1)));
    const truth = current().label < 0 ? "" : ` The image is of class ${lab.classes[current().label]}.`;
    const text =
      is < 0
        ? `${net.title} makes no numbers any more, from ${broken()} on.`
        : `${net.title} says ${names()[is]}, ${percent(after[is])}. Before any change: ${names()[was]}, ${percent(before[was])}.${truth}`;
    if (text === spoken) return;
    spoken = text;
    // Screen readers hear the last of several changes.
    clearTimeout(status.timer);
    status.timer = setTimeout(() => (status.textContent = text), status.textContent ? 250 : 0);
  };
  const broken = () => stageOf(now.findIndex((values) => values.some((value) => !Number.isFinite(value)))).name;
  const paintOff = () => {
    const items = state.changes.flatMap((change) =>
      lab.described(net, change).map((text, k) => {
        const [, [name, value]] = Object.entries(change);
        const which = name === "drop" ? [value[k]] : [value].flat();
        return button(`${text} \u2715`, () => {
          for (const each of [...which]) lab.change(state.changes, change.op, name, each, false);
          update();
        }, { "aria-label": `Switch on again: ${text}` });
      }),
    );
    off.replaceChildren(...(items.length ? ["Switched off: ", ...items] : []));
  };
  const paintStrip = (stage, index) => {
    const strip = strips.children[index];
    const [, canvas] = strip.children;
    const [name, words] = strip.firstChild.children;
    const op = stage.ops.at(-1);
    const values = now[op.index];
    const largest = largestOf(values);
    const wide = op.area === 1 ? 10 : op.channels > 40 ? 26 : 40;
    const across = Math.max(Math.min(op.channels, Math.floor(strips.clientWidth / wide) || 1), 1);
    painted(canvas, values, op.channels, op.rows, op.columns, across, largest);
    canvas.dataset.across = across;
    canvas.style.width = `${across * wide}px`;
    let strongest = 0;
    values.forEach((value, i) => {
      if (value > values[strongest]) strongest = i;
    });
    const shape = op.area > 1 ? `${op.channels} maps of ${op.rows}\u00d7${op.columns}` : `${op.channels} values`;
    const [top, bottom, left, right] = lab.field(net, op.index, op.rows >> 1, op.columns >> 1);
    const text = `${shape}, largest ${number(largest)}; one sees ${bottom - top + 1}\u00d7${right - left + 1} pixels`;
    words.textContent = text;
    canvas.setAttribute("aria-label", `What leaves ${stage.name}: ${text}; the largest value is in map ${Math.floor(strongest / op.area)}`);
    name.setAttribute("aria-pressed", stage === stageOf(state.at[0]));
    legend.textContent = "Each strip shows what leaves a stage, all its maps on one scale: the ground is 0, blue above, orange below, full color the largest number.";
  };
  const paintMaps = () => {
    const op = net.ops[state.at[0]];
    const [before, after] = [clean[op.index], now[op.index]];
    const values = { now: after, before, difference: after.map((value, i) => value - before[i]) }[view.value];
    const [largest, gone] = [largestOf(values), lab.gone(op, state.changes)];
    if (maps.children.length !== op.channels || maps.dataset.op !== `${state.net} ${op.index}`) {
      maps.dataset.op = `${state.net} ${op.index}`;
      maps.replaceChildren(
        ...Array.from({ length: op.channels }, (_, c) =>
          button(element("canvas", { "aria-hidden": "true" }), () => act(c), { "aria-pressed": "false" }),
        ),
      );
      roving(maps);
    }
    [...maps.children].forEach((each, c) => {
      const own = values.subarray(c * op.area, (c + 1) * op.area);
      const isOff = gone.includes(c);
      painted(each.firstChild, own, 1, op.rows, op.columns, 1, largest, { off: isOff ? [0] : [] });
      const most = own.reduce((high, value) => (value > high ? value : high), -Infinity);
      each.setAttribute("aria-label", `map ${c} of ${op.channels}, largest ${number(most)}${isOff ? ", switched off" : ""}`);
      each.title = `${c}${isOff ? ": off" : ""}`;
      each.setAttribute("aria-pressed", c === state.at[1]);
      each.classList.toggle("off", isOff);
    });
    const what = { now: "Now", before: "Before any change", difference: "Now minus before" }[view.value];
    mapsLegend.textContent = `${what}; full color is ${number(largest)}. ${gone.length ? `${gone.length} of ${op.channels} maps are off, struck through.` : ""}`;
  };
  const act = (c) => {
    const [op] = state.at;
    if (acts.value === "off") {
      lab.change(state.changes, op, "off", c, !lab.changed(state.changes, op, "off", c));
      update();
    } else if (acts.value === "only") {
      const was = lab.changed(state.changes, op, "only", c);
      state.changes = state.changes.filter((change) => change.op !== op || !change.only);
      if (!was) lab.change(state.changes, op, "only", c, true);
      update();
    } else look(op, c);
  };

  /** How one number comes about. */
  const explain = () => {
    const op = net.ops[state.at[0]];
    const [, map, row, column] = state.at.map((value, i) => Math.min(value, [Infinity, op.channels, op.rows, op.columns][i] - 1));
    state.at = [op.index, map, row, column];
    for (const [name, most] of Object.entries({ map: op.channels, row: op.rows, column: op.columns })) {
      spot[name].max = most - 1;
      spot[name].disabled = most === 1;
      if (document.activeElement !== spot[name]) spot[name].value = { map, row, column }[name];
    }
    const value = now[op.index][(map * op.rows + row) * op.columns + column];
    const head = element("p", {}, `${lab.title(op)} in ${stageOf(op.index).name}, map ${map}, row ${row}, column ${column}: `, element("b", {}, number(value)));
    const switched = state.changes.some((change) => change.op === op.index);
    input.parentElement.hidden = op.kind !== "conv" || switched;
    if (switched) sum.replaceChildren(head, element("p", {}, "Something is switched off here, so that it is no longer computed from its inputs alone."));
    else sum.replaceChildren(head, ...(op.kind === "conv" ? window_(op, map, row, column, value) : [element("p", {}, inWords(op, map, row, column))]));
  };
  const window_ = (op, map, row, column, value) => {
    const { inputs, bias } = lab.terms(net, now, altered(), op.index, map, row, column);
    if (input.options.length !== inputs.length) {
      input.replaceChildren(...inputs.map((_, c) => element("option", { value: c }, c)));
    }
    if (input.dataset.op !== String(op.index)) {
      input.dataset.op = op.index;
      input.value = inputs.reduce((best, each, c) => (Math.abs(each.sum) > Math.abs(inputs[best].sum) ? c : best), 0);
    }
    const { window: under, kernel, sum: own } = inputs[Number(input.value) || 0];
    const grid = (caption, cell) =>
      element("table", {}, element("caption", {}, caption), element("tbody", {}, ...under.map((line, u) =>
        element("tr", {}, ...line.map((_, v) => element("td", {}, number(cell(u, v), 2)))))));
    const rest = inputs.reduce((all, each) => all + each.sum, 0) - own;
    const others = inputs.length > 1 ? ` + ${number(rest)} of the other ${inputs.length - 1} input maps` : "";
    return [
      element("div", { class: "lab-grids" }, grid("window", (u, v) => under[u][v]), grid("kernel", (u, v) => kernel[u][v]), grid("products", (u, v) => under[u][v] * kernel[u][v])),
      element("p", {}, `The products sum to ${number(own)}${others}${op.bias < 0 ? "" : ` + a bias of ${number(bias)}`} = ${number(value)}.`),
    ];
  };
  const inWords = (op, map, row, column) => {
    const at = (index, c = map) => {
      const [values, size] = op.inputs[index] < 0 ? [altered(), net.image] : [now[op.inputs[index]], op.given[index]];
      return values[(c * size.rows + row) * size.columns + column];
    };
    if (op.kind === "norm") return `${number(at(0))} \u00d7 ${number(op.f[map])} + ${number(op.o[map])}: the factor and the offset of this map, learned in training.`;
    if (op.kind === "relu") return `The larger of 0 and ${number(at(0))}.`;
    if (op.kind === "add") return op.inputs.map((_, k) => `${number(at(k))} (${lab.branch(net, op, k)})`).join(" + ");
    if (op.kind === "max" || op.kind === "avg") return `The ${op.kind === "max" ? "largest" : "mean"} of a window of ${op.kernel.join("\u00d7")} numbers of the same map.`;
    if (op.kind === "mean") return "The mean of all numbers of the same map.";
    if (op.kind === "full") return `A sum of ${op.size} products, one for each number that this layer reads${op.bias < 0 ? "" : `, and a bias of ${number(op.b[map])}`}.`;
    if (op.kind === "cat") return "The same number, from the branch that this map belongs to.";
    return `${number(at(0))}, divided by what the ${op.size} nearest maps have in this place.`;
  };

  /* ---- On many images, and by all networks. ---- */

  const slice = () => new Promise((done) => setTimeout(done));
  /** Give `step` one result after the other of a generator, in slices of 12 ms; whether it ended. */
  const goThrough = async (generator, step) => {
    const mine = {};
    running = mine;
    stop.hidden = bar.hidden = false;
    let last;
    let slept = performance.now();
    for (const each of generator) {
      last = each;
      if (performance.now() - slept > 12) {
        bar.value = each.done;
        step(each);
        await slice();
        if (running !== mine) break;
        slept = performance.now();
      }
    }
    const ended = running === mine;
    if (ended || !running) stop.hidden = bar.hidden = true;
    if (last) step(last);
    return ended;
  };
  const spread = (right, count) => `${number(right / count)} \u00b1 ${number(lab.deviation(right / count, count))}`;
  const all200 = async () => {
    if (lab.gallery.length === 200) return true;
    if (!(await loaded("images.js"))) return false;
    more.hidden = true;
    fillGallery();
    return true;
  };
  const measure = async () => {
    if (!(await all200())) return;
    many.replaceChildren();
    measured.setAttribute("aria-live", "off"); // until it is done
    measured.classList.remove("lab-old");
    measured.dataset.of = measurable();
    const ended = await goThrough(lab.measure(net, lab.gallery, state.changes, state), (found) => tell(found));
    measured.setAttribute("aria-live", "polite");
    if (ended) measured.append(element("p", {}, "\u00b1 is one standard deviation, for images drawn at random. "
      + "This is what this network loses without having been trained so, and no measure of what the part is worth: another one, trained without it, would have learned to do without."));
  };
  const tell = ({ done, before, after, lost, gained, changed, sure: [wrong, right] }) => {
    const difference = (gained - lost) / done;
    const compared = lost + gained
      ? `Right answers lost: ${lost}, gained: ${gained}. Difference: ${difference > 0 ? "+" : ""}${number(difference)} \u00b1 ${number(lab.difference(lost, gained, done))}.`
      : "No answer changed from right to wrong or back.";
    measured.replaceChildren(
      element("p", {}, `${net.title}, ${done} images: accuracy ${spread(before, done)} before any change, ${spread(after, done)} now. `
        + compared
        + (net.accuracy ? ` Before any change, it has ${number(net.accuracy)} on all 10,000 test images.` : "")),
    );
    const means = [[wrong, done - after, "wrong"], [right, after, "right"]].filter(([, count]) => count);
    const probable = means.map(([sum_, count, text]) => `${percent(sum_ / count)} where it is ${text}`);
    measured.append(element("p", {}, `The probability that it gives its answer now: on average ${probable.join(", ")}.`));
    const seen = changed.slice(0, 20).map((k) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      painted(canvas, lab.gallery[k].bytes, 1, 28, 28, 1, 255, { gray: true });
      return element("button", { type: "button", "aria-label": `image ${k}: ${lab.classes[lab.gallery[k].label]}, whose answer changed`, onclick: () => pick(k) }, canvas);
    });
    many.replaceChildren(...(seen.length ? [`Answers that changed (${changed.length}): `, ...seen] : []));
  };

  const answered = () => JSON.stringify([measurable(), state.image, String(mine ?? "")]);
  const fillKinds = () => {
    const there = new Set(net.stages.flatMap((stage) => lab.switches(net, stage)).map(({ kind }) => kind));
    kinds.replaceChildren(...["all", ...there].map((name) => element("option", {}, name)));
    costs.replaceChildren();
    costsTold.textContent = "";
  };
  /** Each part off alone, the worst to lose first. */
  const compare = () => {
    const before = lab.softmax(now.at(-1));
    const truth = current().label;
    const label = truth in names() ? truth : Math.max(lab.answer(now.at(-1)), 0);
    const found = lab.costs(net, altered(), state.changes, label)
      .filter(({ kind }) => ["all", kind].includes(kinds.value))
      .sort((one, other) => (one.share || 0) - (other.share || 0));
    const points = (share) => `${share > before[label] ? "+" : ""}${number(100 * (share - before[label]), 1)}`;
    const row = ({ stage, text, change, answer, share }) => {
      const [name, value] = Object.entries(change)[1];
      const turnOff = () => {
        lab.change(state.changes, change.op, name, [value].flat()[0], true);
        look(change.op);
      };
      return answerRow(button(`${stage}: ${text}`, turnOff), answer, label, percent(share), points(share));
    };
    const other = found.filter(({ answer }) => answer !== lab.answer(now.at(-1))).length;
    costs.classList.remove("lab-old");
    costs.dataset.of = answered();
    costsTold.textContent = `As it is now: ${names()[label]} ${percent(before[label])}. Of ${found.length} parts, each off alone, ${other} change the answer.`;
    const titles = ["off alone", "says", `of ${names()[label]}`, "points"];
    costs.replaceChildren(element("table", {}, heads(titles), element("tbody", {}, ...found.map(row))));
  };

  /** The map of what each covered part costs, for the answer to the whole image. */
  const occlude = async () => {
    const square = { size: state.cover?.size ?? 8, shade: state.cover?.shade ?? 0 };
    const settings = { ...state, cover: undefined, seed: state.image };
    const all = lab.softmax(lab.run(net, lab.altered(current().bytes, settings), state.changes).at(-1));
    const label = all.indexOf(Math.max(...all));
    cloud.hidden = false;
    await goThrough(lab.occlusion(net, current().bytes, settings, state.changes, square, label), ({ done, map }) => {
      const lost = map.map((share, i) => (i < done ? all[label] - share : 0));
      painted(cloud, lost, 1, 14, 14, 1, Math.max(largestOf(lost), 0.01));
      const most = lost.indexOf(Math.max(...lost));
      const text = `Covered by a square of ${square.size} pixels, ${square.shade ? (square.shade === 1 ? "white" : "gray") : "black"}, the probability of ${names()[label]} falls most, from ${percent(all[label])} to ${percent(map[most])}, with its center near row ${2 * Math.floor(most / 14) + 1}, column ${2 * (most % 14) + 1}.`;
      evidence.textContent = `${done} of 196 squares. ${text} Blue: it falls; orange: it rises. Size and shade are those of the square above, if there is one.`;
      cloud.setAttribute("aria-label", text);
    });
  };

  let accuracies = {};
  let measuredWith; // the changes of the image with which they were
  const settings = () => JSON.stringify([...Object.keys(lab.settings).map((name) => state[name]), state.cover]);
  const eight = async () => {
    const found = [];
    for (const name of Object.keys(lab.files)) {
      const each = await open(name);
      if (!each) return;
      const start = performance.now();
      const logits = lab.run(each, altered()).at(-1);
      found.push({ name, net: each, milliseconds: performance.now() - start, answer: lab.answer(logits), shares: lab.softmax(logits) });
    }
    const truth = current().label;
    const label = truth < 0 ? found[0].answer : truth;
    // Those that disagree with the truth first, the least sure of it before others.
    found.sort((one, other) => one.shares[label] - other.shares[label]);
    place.dataset.eight = found.reduce((sum_, each) => sum_ + each.milliseconds, 0);
    const row = ({ name, net: each, milliseconds, answer, shares }) =>
      answerRow(button(each.title, () => choose(name)), answer, label, percent(shares[answer] ?? NaN), percent(shares[label]), `${number(milliseconds, 1)} ms`, accuracies[name] ?? "");
    const titles = ["network", "says", "probability", `of ${lab.classes[label]}`, "time", "on 200"];
    table.replaceChildren(
      element("p", {}, `${found.filter(({ answer }) => answer === label).length} of 8 say ${lab.classes[label]}${truth < 0 ? "" : ", which is the class of the image"}. The image is as it was changed; nothing is switched off in them.`),
      element("table", {}, heads(titles), element("tbody", {}, ...found.map(row))),
    );
    eightMeasure.hidden = false;
  };
  const measurable = () => JSON.stringify([state.net, settings(), state.changes]);
  const measureEight = async () => {
    if (!(await all200())) return;
    accuracies = {};
    measuredWith = settings();
    for (const name of Object.keys(lab.files)) {
      const each = await open(name);
      const ended = await goThrough(lab.measure(each, lab.gallery, [], state), ({ after, done }) => {
        accuracies[name] = spread(after, done);
      });
      if (!ended) break;
      await eight();
    }
  };

  /* ---- Begin. ---- */

  drawing.addEventListener("click", (event) => {
    const path = event.target.closest(".bb-stage")?.dataset.path;
    const stage = net.stages.find(({ name }) => name === path);
    if (stage) look(stage.ops.at(-1).index);
  });
  const theme = new MutationObserver(() => {
    painted = lab.painter(container);
    fillGallery();
    paint();
  });
  theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  window.addEventListener("hashchange", async () => {
    if (!whole || !location.hash.includes("net=")) return;
    state = lab.parse(location.hash.slice(1));
    const found = await open(state.net);
    if (found) show(found);
  });

  // Without these there is nothing to change: the table and the drawing stay.
  const stay = (why) => {
    place.remove();
    throw new Error(why);
  };
  const file = state.image >= 20 ? "images.js" : "first.js";
  if (!(lab.gallery?.length > state.image) && !(await loaded(file))) stay(`${file} did not load`);
  more.hidden = lab.gallery.length === 200;
  const wanted = await open(state.net);
  if (!wanted) stay(state.net in lab.files ? `${state.net}.js did not load` : `there is no network ${state.net}`);
  if (state.unknown.length) trouble.textContent = `The address has parts that say nothing here: ${state.unknown.join(", ")}.`;
  fillGallery();
  show(wanted);
  // An address with a state is about this place.
  const [visit] = performance.getEntriesByType("navigation");
  if (whole && address.includes("net=") && visit?.type === "navigate") container.scrollIntoView({ behavior: "instant" });
};
