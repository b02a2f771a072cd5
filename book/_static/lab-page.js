/* What readers see and change of the networks that lab-run.js runs; course_lib/pages/lab.py writes what
 * stands here without scripts. */
"use strict";

lab.classes = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",");

/** The files of networks: their kB, and the names of the networks. */
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

/** Files of images call this. */
lab.addImages = ({ labels, data }) => {
  lab.gallery = lab.images(data, 784).map((bytes, k) => ({ bytes, label: labels[k] }));
};

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

lab.number = (value, digits = 3) => {
  if (!Number.isFinite(value)) return "not a number";
  const text = value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(digits);
  return text.replace("-", "\u2212");
};

lab.percent = (share) =>
  share >= 0 ? `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}\u00a0%` : "not a number";

/** Draws `count` maps of one scale, `across` in a row: the ground for 0, a color for what is above, another for
 * below. With `gray`, from black to white. */
lab.painter = (container) => {
  const style = getComputedStyle(container);
  const color = (name) => [1, 3, 5].map((at) => parseInt(style.getPropertyValue(name).trim().slice(at, at + 2), 16));
  const ofMaps = ["--lab-ground", "--lab-above", "--lab-below"].map(color);
  const ofImages = [0, 255, 0].map((shade) => [shade, shade, shade]);
  return (canvas, values, { rows, columns }, largest, { count = 1, across = 1, gray = false } = {}) => {
    const [ground, above, below] = gray ? ofImages : ofMaps;
    const gap = Number(across > 1);
    canvas.width = across * (columns + gap) - gap;
    canvas.height = Math.ceil(count / across) * (rows + gap) - gap;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    for (let i = 0; i < count * rows * columns; i += 1) {
      const [c, row, column] = [Math.floor(i / rows / columns), Math.floor(i / columns) % rows, i % columns];
      const [top, left] = [Math.floor(c / across) * (rows + gap), (c % across) * (columns + gap)];
      const share = Math.min(Math.abs(values[i]) / largest, 1) || 0;
      const end = values[i] < 0 ? below : above;
      const shade = ground.map((from, k) => from + share * (end[k] - from));
      pixels.data.set([...shade, 255], 4 * ((top + row) * canvas.width + left + column));
    }
    context.putImageData(pixels, 0, 0);
  };
};

/** Controls for `container`; what was in it stays below. */
lab.play = async (container, load) => {
  const { element, number, percent } = lab;
  const still = element("div", { class: "lab-still" }, ...container.childNodes);
  const place = element("div", { class: "lab-live" });
  container.append(place, still);

  const piece = JSON.parse(container.dataset.piece ?? "null");
  const address = location.hash.slice(1) || location.search.slice(1);
  let state = lab.parse(!piece && address.includes("net=") ? address : container.dataset.state);
  let net;
  let clean; // what its operations make of the image
  let now; // and with all changes
  let painted = lab.painter(container);
  const paintGray = (canvas, bytes, white = 255) => painted(canvas, bytes, { rows: 28, columns: 28 }, white, { gray: true });
  let running; // the measurement, if there is one
  let mine = state.own && lab.unpacked(state.own); // the bytes of a reader's image
  let subject; // the image, its class or -1, its title, and what is told of it
  let x; // the image as the network reads it
  let striped = []; // stages with a strip
  const opened = {}; // networks by name

  const button = (text, action, more = {}) =>
    element("button", { type: "button", onclick: action, ...more }, text);
  const labeled = (text, ...content) => element("label", {}, element("span", {}, text), ...content);
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  const row = (...content) => element("div", { class: "lab-row" }, ...content);
  const select = (pairs, action) => {
    const made = element("select", { onchange: () => action?.(made.value) });
    fill(made, pairs);
    return made;
  };
  const fill = (list, pairs) =>
    list.replaceChildren(...pairs.map(([value, text = value]) => element("option", { value }, text)));
  /** A whole number from `min` to `max`. */
  const counter = (min, max, action) => {
    const made = element("input", { type: "number", min, max, oninput: () => {
      const value = made.valueAsNumber;
      if (!Number.isInteger(value) || value < min || value > made.max) return;
      action(value);
      update();
    } });
    return made;
  };
  const checkbox = (text, action, attributes) => {
    const box = element("input", { type: "checkbox", onchange: () => action(box.checked) });
    return [box, element("label", attributes, box, ` ${text}`)];
  };

  const status = element("p", { class: "lab-verdict", role: "status" });
  const trouble = element("p", { class: "lab-note", role: "alert" });
  const shown = element("canvas", { class: "lab-image", role: "img" });
  const gallery = element("div", { class: "lab-gallery", role: "group", "aria-label": "Test images" });
  const more = button("All 200 images", () => all200());
  const titled = ([name, [size, title]]) => [name, `${title} (${size} kB)`];
  const chosenNet = select(Object.entries(lab.files).map(titled), (name) => choose(name));
  const own = element("input", { type: "file", accept: ".js", onchange: () => openFile(own.files[0]) });
  const back = button("Put everything back", () => {
    const { net: name, image, own: drawn, at } = state;
    state = { ...lab.parse(""), net: name, image, own: drawn, at };
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
    const output = element("output");
    const input = element("input", { type: "range", min: least, max: most, step, oninput: () => {
      state[name] = input.valueAsNumber;
      renew();
    } });
    const label = element("label", {}, element("span", {}, text, " ", output), input);
    label.refresh = () => {
      input.value = state[name];
      output.textContent = write(state[name]);
    };
    sliders[name] = label;
  };
  const signed = (value) => (value > 0 ? `+${value}` : number(value, 0));
  const pixels = (value) => `${signed(value)} ${Math.abs(value) === 1 ? "pixel" : "pixels"}`;
  slider("right", "Shift right", 1, pixels);
  slider("down", "Shift down", 1, pixels);
  slider("turn", "Turn", 5, (value) => `${signed(value)}\u00b0`);
  slider("noise", "Noise", 0.1, (value) => `${number(value, 1)} standard deviations`);
  slider("contrast", "Contrast", 0.1, (value) => number(value, 1));
  const SHADES = ["black", "gray", "white"];
  const cover = select([["none"], ...SHADES.map((name, k) => [k / 2, name])], (shade) => {
    const before = state.cover ?? { row: 10, column: 10, size: 8 };
    state.cover = shade === "none" ? undefined : { ...before, shade: Number(shade) };
    renew();
  });
  const corner = {};
  for (const [name, least, most] of [["row", 0, 27], ["column", 0, 27], ["size", 1, 28]]) {
    corner[name] = counter(least, most, (value) => (state.cover = { ...state.cover, [name]: value }));
  }
  const labels = (all) => Object.entries(all).map(([name, each]) => labeled(name, each));
  const where = element("span", { class: "lab-corner" }, ...labels(corner));

  /* An image of one's own. */
  const pen = { row: 14, column: 14 };
  const pad = element("canvas", { class: "lab-image", tabindex: 0, role: "application", "aria-label": "Draw: arrow keys move the pen, the space bar paints, the delete key rubs out" });
  const bring = (bytes) => {
    mine = bytes;
    state.own = lab.packed(mine);
    paintPad();
    renew();
  };
  const paintPad = () => {
    paintGray(pad, mine ?? new Uint8Array(784));
    pad.getContext("2d").fillStyle = "rgb(255 160 0 / 60%)";
    pad.getContext("2d").fillRect(pen.column, pen.row, 1, 1);
  };
  const dab = (row, column, ink) => {
    Object.assign(pen, { row, column });
    const drawn = mine ?? new Uint8Array(784);
    for (let i = row - 1; i <= row + 1; i += 1) {
      for (let k = column - 1; k <= column + 1; k += 1) {
        const middle = i === row || k === column;
        if (i < 0 || i > 27 || k < 0 || k > 27) continue;
        const was = drawn[28 * i + k];
        drawn[28 * i + k] = ink ? Math.max(was, middle ? 238 : 119) : Math.min(was, middle ? 0 : 119);
      }
    }
    bring(drawn);
  };
  pad.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (move) {
      pen.row = within(pen.row + move[0], 27);
      pen.column = within(pen.column + move[1], 27);
      paintPad();
    } else if ([" ", "Delete", "Backspace"].includes(event.key)) dab(pen.row, pen.column, event.key === " ");
    else return;
    event.preventDefault();
  });
  const stroke = (event) => {
    const at = (offset, size) => within(Math.floor((28 * offset) / size), 27);
    dab(at(event.offsetY, pad.clientHeight), at(event.offsetX, pad.clientWidth), !event.shiftKey);
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && stroke(event));
  const steps = {}; // what is done to a photograph
  const stepBoxes = Object.entries({ square: "the square in the middle", invert: "light and dark exchanged", stretch: "range stretched" }).map(([name, text]) => {
    const [box, label] = checkbox(text, (is) => {
      steps[name] = is;
      develop();
    });
    steps[name] = box.checked = true;
    return label;
  });
  let photo; // its pixels
  const develop = () => photo && bring(lab.photograph(photo.data, photo.width, photo.height, steps));
  const camera = element("input", { type: "file", accept: "image/*", onchange: async () => {
    if (!camera.files[0]) return;
    try {
      const bitmap = await createImageBitmap(camera.files[0]);
      const scale = Math.min(1, 560 / Math.min(bitmap.width, bitmap.height));
      const canvas = element("canvas");
      [canvas.width, canvas.height] = [bitmap.width * scale, bitmap.height * scale].map(Math.round);
      const context = canvas.getContext("2d");
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      photo = context.getImageData(0, 0, canvas.width, canvas.height);
      develop();
    } catch {
      trouble.replaceChildren(`${camera.files[0].name} is no image that this browser can read.`);
    }
  } });
  const empty = button("Empty it", () => bring(new Uint8Array(784)));
  const ownImage = element(
    "details",
    { ontoggle: () => paintPad() },
    element("summary", {}, "An image of your own"),
    element("div", { class: "lab-top" }, pad, element("div", {},
      element("p", {}, "Draw with a finger, a mouse (with shift it rubs out) or the keyboard: a drawing is in the address, and a link shares it. A photograph is sent nowhere, and not in the address. It becomes gray, each of 28 by 28 pixels the mean of what is under it, and"),
      element("div", { class: "lab-row lab-board" }, ...stepBoxes),
      row(labeled("Photograph", camera), empty))),
  );

  const heads = (titles) =>
    element("thead", {}, element("tr", {}, ...titles.map((text) => element("th", { scope: "col" }, text))));
  const answerRow = (head, answer, label, ...cells) => {
    const wrong = answer !== label;
    const said = `${names()[answer] ?? "no number"}${wrong && subject.label >= 0 ? " (wrong)" : ""}`;
    return element("tr", { class: wrong && "wrong" }, element("th", { scope: "row" }, head), ...[said, ...cells].map((text) => element("td", {}, text)));
  };
  const answers = (titles, rows) => element("table", {}, heads(titles), element("tbody", {}, ...rows));
  const bars = element("tbody");
  const probabilities = element(
    "table",
    { class: "lab-bars" },
    element("caption", {}, "Probabilities"),
    heads(["class", "before", "now"]),
    bars,
  );
  const off = element("div", { class: "lab-off" });
  const drawing = element("div", { class: "lab-drawing drawing", role: "img" });
  const strips = element("div", { class: "lab-strips" });
  const legend = element("p", {}, "Each strip shows what leaves a stage, all its maps on one scale: the ground is 0, blue above, orange below, full color the largest number.");
  const board = element("fieldset", { class: "lab-board" });
  const mapsOf = select([], (op) => look(Number(op)));
  const acts = select([["look", "look at it"], ["off", "switch it off or on"], ["only", "leave it alone on"]]);
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
  const view = select([["now"], ["before", "before any change"], ["difference", "now minus before"]], () => paintMaps());
  const maps = element("div", { class: "lab-maps", role: "group", "aria-label": "Feature maps", onkeydown: (event) => walk(event, maps) });
  const mapsLegend = element("p");
  const spot = {};
  ["map", "row", "column"].forEach((name, i) => {
    spot[name] = counter(0, 0, (value) => (state.at[i + 1] = value));
  });
  const input = select([], () => explain());
  const sum = element("div", { class: "lab-sum" });
  const spotRow = row(...labels(spot), labeled("input map", input));
  const many = element("div", { class: "lab-many" });
  const measureButton = button("Measure on 200 images", () => measure(), { class: "lab-measure" });
  const stop = button("Stop", () => (running = undefined), { hidden: true });
  const bar = element("progress", { max: 200, value: 0, hidden: true, "aria-label": "Images measured" });
  const measured = element("div", { class: "lab-measured", role: "status" });
  const kinds = select([], () => costs.firstChild && compare());
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
  /** A part of all that, in another page, has what `data-piece` names. */
  const controls = Object.entries({ ...sliders, cover: element("div", { class: "lab-corner" }, labeled("Cover with a square", cover), where) })
    .filter(([name]) => !piece || piece.controls.includes(name)).map(([, each]) => each);
  const changeImage = controls.length ? element("fieldset", {}, element("legend", {}, "Change the image"), ...controls) : "";
  const top = element("div", { class: "lab-top" }, shown, element("div", {}, gallery, piece ? "" : more));
  const answer = element("div", { class: "lab-answer" }, status, off);
  const arrange = () => {
    const there = element("a", {}, "Open in the lab");
    // Slides stand in another folder than the page.
    const page = still.querySelector("a[href*='lab.html']").getAttribute("href").split("?")[0];
    there.onpointerdown = there.onfocus = () => (there.href = `${page}?${lab.write(state)}`);
    there.href = `${page}?${container.dataset.state}`;
    place.classList.add("lab-piece");
    place.append(trouble, ...(piece.ask ? [question()] : []), top, answer, changeImage);
    if (piece.switches.length) place.append(board);
    place.append(strips);
    if (piece.value) place.append(spotRow, sum);
    if (piece.evidence) place.append(row(seek), cloud, evidence);
    const { measure: one, eight: all } = piece;
    if (one || all || piece.evidence) place.append(row(...(one ? [measureButton] : []), ...(all ? [eightButton, eightMeasure] : []), stop, bar), measured, table);
    if (piece.ask) lock(true);
    place.append(element("p", {}, there, ", where there is more of it. ", back));
  };
  /** A question comes first; its answer unlocks the rest. */
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
    section("The image and the answer", row(labeled("Network", chosenNet), labeled("or one of your own, from a file", own), back, link), top),
    answer,
    ownImage,
    changeImage,
    probabilities,
    section("Inside", element("p", {}, "Choose a stage, in the drawing or below it."), drawing, strips, legend),
    section("One stage", board, row(labeled("Maps after", mapsOf), labeled("A click on a map", acts), labeled("Show", view), half, otherMaps), maps, mapsLegend),
    section("What each part costs", row(labeled("Parts", kinds), costsButton), costsTold, costs),
    section("One value", spotRow, sum),
    section("Where the evidence is", row(seek), cloud, evidence),
    section("On 200 test images", row(measureButton, stop, bar), measured, many),
    section("All eight", row(eightButton, eightMeasure), table),
  );

  /** Whether a file could be loaded. */
  const loaded = async (file) => {
    try {
      await load(`lab/${file}`);
      return true;
    } catch ({ message }) {
      const again = button("Try again", () => {
        trouble.replaceChildren();
        if (file === "images.js") more.click();
        else choose(file.replace(/.*\/|\.js/g, ""));
      });
      trouble.replaceChildren(`${message}. `, again);
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
  /** A network of a reader: the file is read, not run. */
  const openFile = async (file) => {
    if (!file) return;
    try {
      const text = (await file.text()).trim();
      if (!/^lab\.add\(\{.*\}\);$/s.test(text)) throw new Error("it was not written by course_lib.lab.export");
      const program = JSON.parse(text.slice(8, -2));
      if (program.input.join() !== "1,28,28") throw new Error("it takes no images of 1\u00d728\u00d728");
      program.name = `own-${program.name}`;
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
    if (!piece) {
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
  /** The drawing that is in the page already, or one from a file. */
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
      mark();
      return;
    }
    const there = lab.drawings[name] || (await loaded(`drawings/${name}.js`));
    if (name !== state.net || !there) return; // or another was chosen
    drawing.replaceChildren(
      ...Object.entries(lab.drawings[name]).map(([form, svg]) => {
        const made = element("div", { class: `bb-${form}` });
        made.innerHTML = svg;
        return made;
      }),
    );
    mark();
  };
  const sync = () => {
    chosenNet.value = state.net;
    for (const each of Object.values(sliders)) each.refresh();
    cover.value = state.cover ? state.cover.shade : "none";
    where.hidden = !state.cover;
    for (const [name, each] of Object.entries(corner)) each.value = state.cover?.[name] ?? "";
    gallery.querySelectorAll("button").forEach((each, k) => each.ariaPressed = !mine && k === state.image);
  };
  const renew = () => {
    sync();
    update();
  };
  const pick = (k) => {
    mine = state.own = undefined;
    state.image = k;
    renew();
  };
  const thumbnail = ({ bytes, label }, k, text = "") => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    paintGray(canvas, bytes);
    const title = `${k}: ${lab.classes[label]}`;
    return button(canvas, () => pick(k), { "aria-label": `image ${title}${text}`, title });
  };
  const fillGallery = () => {
    gallery.replaceChildren(...lab.gallery.map((each, k) => thumbnail(each, k)));
    sync();
    roving(gallery);
  };
  gallery.addEventListener("keydown", (event) => walk(event, gallery));

  /** The tab key leads to one button of a group, arrows to others. */
  const roving = (group) => {
    const all = [...group.querySelectorAll("button")];
    lead(all, all.find((each) => each.ariaPressed === "true") ?? all[0]);
  };
  const lead = (all, to) => all.forEach((each) => (each.tabIndex = each === to ? 0 : -1));
  const walk = (event, group) => {
    const all = [...group.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    const top = all[at]?.offsetTop;
    const across = all.filter((each) => each.offsetTop === top).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -at, End: all.length - 1 - at }[event.key];
    if (at < 0 || step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const to = all[within(at + step, all.length - 1)];
    lead(all, to);
    to.focus();
  };

  const stageOf = (op) => net.stages.find(({ ops }) => ops.includes(net.ops[op]));
  const look = (op, map = 0) => {
    const other = stageOf(op) !== stageOf(state.at[0]);
    const { area, columns } = net.ops[op];
    const i = peak(now[op].subarray(map * area, (map + 1) * area));
    state.at = [op, map, Math.floor(i / columns), i % columns];
    if (other) fillBoard();
    update();
  };
  const makeStrip = (stage) => {
    const canvas = element("canvas", { role: "img", onclick: (event) => {
      const { channels } = stage.ops.at(-1);
      const across = Number(canvas.dataset.across);
      const column = Math.floor((across * event.offsetX) / canvas.clientWidth);
      const row = Math.floor((Math.ceil(channels / across) * event.offsetY) / canvas.clientHeight);
      look(stage.ops.at(-1).index, within(row * across + column, channels - 1));
    } });
    const name = button(stage.name, () => look(stage.ops.at(-1).index));
    return element("div", { class: "lab-strip" }, element("div", {}, name, element("span", {})), canvas);
  };
  const fillBoard = () => {
    const stage = stageOf(state.at[0]);
    const title = element("legend", {}, `Parts of ${stage.name} that are on`);
    const all = lab.switches(net, stage).filter(({ text }) => !piece || piece.switches.includes(text));
    const switches = all.map((each) => switchOf([each], each.text));
    const none = switches.length ? [] : [element("p", {}, "This stage has only maps.")];
    const everywhere = ["norm", "shortcut", "residual branch"].filter((kind) => !piece || piece.switches.includes(`every ${kind}`));
    const joins = new Set(all.filter(({ change }) => change.drop).map(({ change }) => net.ops[change.op]));
    const swapped = all.length > 1 && joins.size ? [swap([...joins])] : [];
    board.replaceChildren(title, ...switches, ...swapped, ...none, ...everywhere.map(forAll).filter(Boolean));
    fill(mapsOf, stage.ops.map((op) => [op.index, lab.title(op)]));
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
  const switchOf = (all, text, attributes) => {
    const [box, label] = checkbox(text, (is) => {
      for (const { parts } of all) lab.change(state.changes, ...parts, !is);
      update();
    }, attributes);
    box.refresh = () => {
      const gone = all.filter(({ parts }) => lab.changed(state.changes, ...parts)).length;
      box.checked = !gone;
      box.indeterminate = gone > 0 && gone < all.length;
    };
    return label;
  };
  const forAll = (kind) => {
    const word = kind === "norm" ? "batch normalization" : kind;
    const all = net.stages.flatMap((stage) => lab.switches(net, stage)).filter((each) => each.kind === word);
    return all.length > 1 && switchOf(all, `in the whole network: every ${word}`, { class: "lab-all" });
  };

  /* ---- What is shown of it. ---- */

  const largestText = (before, after) => (before === after ? number(after) : `${number(before)} before, ${number(after)} now`);
  /** Where the largest value is. */
  const peak = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const largestOf = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0) || 1;
  const names = () => (net.ops.at(-1).length === 10 ? lab.classes : lab.count(net.ops.at(-1).length).map((k) => `class ${k}`));
  let waiting = false;
  let spoken;
  /** Once a frame. */
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
      if (!piece) history.replaceState(null, "", `#${lab.write(state)}`);
    });
  };
  const outdated = () => {
    for (const [box, of] of [[costs, answered], [measured, measurable]]) {
      if (!box.firstChild || box.dataset.of === of() || box.classList.contains("lab-old")) continue;
      box.classList.add("lab-old");
      box.prepend(element("p", {}, "Measured before the last change."));
    }
  };
  const NOTHING = " The image is of one shade: no answer to it is right, and no probability means anything.";
  const compute = () => {
    state.image = Math.min(state.image, lab.gallery.length - 1);
    const { bytes, label } = lab.gallery[state.image];
    subject = { bytes, label, title: `Test image ${state.image}`, told: ` The image is of class ${lab.classes[label]}.` };
    if (mine) subject = { bytes: mine, label: -1, title: "Your image", told: "" };
    const shades = new Set(lab.altered(subject.bytes, { ...state, noise: 0 }));
    if (shades.size === 1) Object.assign(subject, { label: -1, told: NOTHING });
    const { channels, rows, columns } = net.ops[state.at[0]];
    state.at = state.at.map((value, i) => within(value, [value, channels - 1, rows - 1, columns - 1][i]));
    clean = lab.run(net, lab.altered(subject.bytes));
    x = lab.altered(subject.bytes, { ...state, seed: state.image });
    now = lab.run(net, x, state.changes);
  };
  const paint = () => {
    const [before, after] = [clean, now].map((values) => lab.softmax(values.at(-1)));
    paintImage();
    paintVerdict(before, after);
    bars.replaceChildren(
      ...names().map((name, k) =>
        element("tr", {}, element("th", { scope: "row" }, name), ...[before[k], after[k]].map((share, i) =>
          element("td", { style: `--share: ${100 * (share || 0)}%`, class: i ? "now" : "before" }, percent(share)))),
      ),
    );
    paintOff();
    striped.forEach(paintStrip);
    mark();
    board.querySelectorAll("input, button").forEach((each) => each.refresh());
    mapsOf.value = state.at[0];
    paintMaps();
    explain();
  };
  /** What is off in a stage, in words. */
  const offIn = ({ name, ops }) =>
    state.changes.filter(({ op }) => ops.includes(net.ops[op])).flatMap((change) => lab.described(net, change))
      .map((text) => text.slice(name.length + 2));
  /** In the drawing, the chosen stage, and what the answer no longer depends on. */
  const mark = () => {
    const needed = lab.sources(net, net.ops.length - 1, 0, 0, state.changes);
    for (const each of drawing.querySelectorAll("[data-path]")) {
      const { path } = each.dataset;
      const ops = net.ops.filter((op) => op.path === path);
      each.classList.toggle("off", ops.length > 0 && !ops.some(({ index }) => needed.has(index)));
      const stage = each.matches(".bb-stage") && net.stages.find(({ name }) => name === path);
      if (!stage) continue;
      each.classList.toggle("chosen", stage === stageOf(state.at[0]));
      const count = offIn(stage).length;
      each.querySelector(":scope > text").textContent = path + (count ? `: ${count} off` : "");
    }
    const all = net.stages.flatMap((stage) => offIn(stage).map((text) => `${stage.name}: ${text}`));
    drawing.ariaLabel = `Drawing of ${net.title}. Off: ${all.join("; ") || "nothing"}.`;
  };

  const small = element("canvas");
  const paintImage = () => {
    const [mean, deviation] = lab.normalization;
    paintGray(small, x.map((value) => Math.max(value * deviation + mean, 0)), 1);
    const [op, map, row, column] = state.at;
    const seen = lab.field(net, op, row, column, state.changes, map);
    [shown.width, shown.height] = [224, 224];
    const context = shown.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, 224, 224);
    subject.seen = "All that the chosen value sees is off.";
    if (seen) {
      const [top, bottom, left, right] = seen;
      context.strokeStyle = getComputedStyle(container).getPropertyValue("--lab-frame");
      context.lineWidth = 3;
      if (!piece?.eight) context.strokeRect(8 * left + 1.5, 8 * top + 1.5, 8 * (right - left) + 5, 8 * (bottom - top) + 5);
      subject.seen = `The frame is what the chosen value sees: rows ${top} to ${bottom}, columns ${left} to ${right}.`;
    }
    shown.ariaLabel = `${subject.title}, as it was changed. ${subject.seen}`;
  };
  const paintVerdict = (before, after) => {
    const [was, is] = [clean, now].map((values) => lab.answer(values.at(-1)));
    const text =
      is < 0
        ? `${net.title} makes no numbers any more, from ${broken()} on.`
        : `${net.title} says ${names()[is]}, ${percent(after[is])}. Before any change: ${names()[was]}, ${percent(before[was])}.${subject.told}`;
    if (text === spoken) return;
    spoken = text;
    // Screen readers hear the last of several changes.
    clearTimeout(status.timer);
    status.timer = setTimeout(() => (status.textContent = text), status.textContent ? 250 : 0);
  };
  const broken = () => stageOf(now.findIndex((values) => values.some((value) => !Number.isFinite(value)))).name;
  const paintOff = () => {
    const items = state.changes.flatMap((change) =>
      lab.described(net, change).map((text, k) =>
        button(`${text} \u2715`, () => {
          if (change.drop) lab.change(state.changes, change.op, "drop", change.drop[k], false);
          else state.changes = state.changes.filter((each) => each !== change);
          update();
        }, { "aria-label": `Switch on again: ${text}` }),
      ),
    );
    off.replaceChildren(...(items.length ? ["Switched off: ", ...items] : []));
  };
  const paintStrip = (stage, index) => {
    const strip = strips.children[index];
    const [, canvas] = strip.children;
    const [name, words] = strip.firstChild.children;
    const op = stage.ops.at(-1);
    const values = now[op.index];
    const [before, largest] = [clean[op.index], values].map(largestOf);
    const wide = op.area === 1 ? 10 : op.channels > 40 ? 26 : 40;
    const across = Math.max(Math.min(op.channels, Math.floor(strips.clientWidth / wide) || 1), 1);
    painted(canvas, values, op, largest, { count: op.channels, across });
    canvas.dataset.across = across;
    canvas.style.width = `${across * wide}px`;
    const shape = op.area > 1 ? `${op.channels} maps of ${op.rows}\u00d7${op.columns}` : `${op.channels} values`;
    const seen = lab.field(net, op.index, op.rows >> 1, op.columns >> 1, state.changes);
    const sees = seen ? `${seen[1] - seen[0] + 1}\u00d7${seen[3] - seen[2] + 1} pixels` : "no pixel";
    const some = offIn(stage).join(", ");
    const text = `${shape}, largest ${largestText(before, largest)}; one sees ${sees}${some && `. Off: ${some}`}`;
    words.textContent = text;
    canvas.ariaLabel = `What leaves ${stage.name}: ${text}; the largest value is in map ${Math.floor(peak(values) / op.area)}`;
    name.ariaPressed = stage === stageOf(state.at[0]);
  };
  const paintMaps = () => {
    const op = net.ops[state.at[0]];
    const [before, after] = [clean[op.index], now[op.index]];
    const values = { now: after, before, difference: after.map((value, i) => value - before[i]) }[view.value];
    const [largest, gone] = [largestOf(values), lab.gone(op, state.changes)];
    if (maps.children.length !== op.channels || maps.dataset.op !== `${state.net} ${op.index}`) {
      maps.dataset.op = `${state.net} ${op.index}`;
      maps.replaceChildren(
        ...lab.count(op.channels).map((c) =>
          button(element("canvas", { "aria-hidden": "true" }), () => act(c), { "aria-pressed": "false" }),
        ),
      );
      roving(maps);
    }
    [...maps.children].forEach((each, c) => {
      const own = values.subarray(c * op.area, (c + 1) * op.area);
      const isOff = gone.includes(c);
      painted(each.firstChild, own, op, largest);
      each.ariaLabel = `map ${c} of ${op.channels}, largest ${number(own[peak(own)])}${isOff ? ", switched off" : ""}`;
      each.title = `${c}${isOff ? ": off" : ""}`;
      each.ariaPressed = c === state.at[1];
      each.classList.toggle("off", isOff);
    });
    mapsLegend.textContent = `Full color is ${number(largest)}. Largest value: ${largestText(...[before, after].map(largestOf))}. ${gone.length ? `${gone.length} of ${op.channels} maps are off.` : ""}`;
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

  /** How one value comes about. */
  const explain = () => {
    const [index, map, row, column] = state.at;
    const op = net.ops[index];
    Object.values(spot).forEach((each, i) => {
      each.max = [op.channels, op.rows, op.columns][i] - 1;
      each.disabled = each.max === "0";
      if (document.activeElement !== each) each.value = state.at[i + 1];
    });
    const value = now[op.index][(map * op.rows + row) * op.columns + column];
    const head = element("p", {}, `${lab.title(op)} in ${stageOf(op.index).name}, map ${map}, row ${row}, column ${column}: `, element("b", {}, number(value)), `. ${subject.seen}`);
    const switched = state.changes.some((change) => change.op === op.index);
    input.parentElement.hidden = op.kind !== "conv" || switched;
    if (switched) sum.replaceChildren(head, element("p", {}, "Something is switched off here."));
    else sum.replaceChildren(head, ...(op.kind === "conv" ? window_(op, map, row, column, value) : [element("p", {}, inWords(op, map, row, column))]));
  };
  const window_ = (op, map, row, column, value) => {
    const { inputs, bias } = lab.terms(net, now, x, op.index, map, row, column);
    if (input.options.length !== inputs.length) fill(input, inputs.map((_, c) => [c]));
    if (input.dataset.op !== String(op.index)) {
      input.dataset.op = op.index;
      input.value = inputs.reduce((best, each, c) => (Math.abs(each.sum) > Math.abs(inputs[best].sum) ? c : best), 0);
    }
    const { sum: own, ...grids } = inputs[Number(input.value) || 0];
    const grid = ([caption, lines]) =>
      element("table", {}, element("caption", {}, caption), element("tbody", {}, ...lines.map((line) =>
        element("tr", {}, ...line.map((value) => element("td", {}, number(value, 2)))))));
    const rest = inputs.reduce((all, each) => all + each.sum, 0) - own;
    const others = inputs.length > 1 ? ` + ${number(rest)} of the other ${inputs.length - 1} input maps` : "";
    return [
      element("div", { class: "lab-grids" }, ...Object.entries(grids).map(grid)),
      element("p", {}, `The products sum to ${number(own)}${others}${op.bias < 0 ? "" : ` + a bias of ${number(bias)}`} = ${number(value)}.`),
    ];
  };
  const inWords = (op, map, row, column) => {
    const at = (index, c = map) => {
      const [values, size] = op.inputs[index] < 0 ? [x, net.image] : [now[op.inputs[index]], op.given[index]];
      return values[(c * size.rows + row) * size.columns + column];
    };
    if (op.kind === "norm") return `${number(at(0))} \u00d7 ${number(op.f[map])} + ${number(op.o[map])}, a factor and an offset for each map.`;
    if (op.kind === "relu") return `The larger of 0 and ${number(at(0))}.`;
    if (op.kind === "add") return op.inputs.map((_, k) => `${number(at(k))} (${lab.branch(net, op, k)})`).join(" + ");
    if (op.kind === "full") return `A sum of ${op.size} products, one for each number that this layer reads${op.bias < 0 ? "" : `, and a bias of ${number(op.b[map])}`}.`;
    if (op.kind === "cat") return "The same number, from the branch of this map.";
    if (op.kind === "lrn") return `${number(at(0))}, divided by what ${op.size} neighboring maps have in this place.`;
    return `The ${op.kind === "max" ? "largest" : "mean"} of ${op.kernel?.join("\u00d7") ?? "all"} numbers of the same map.`;
  };

  /* ---- On many images, and by all networks. ---- */

  const slice = () => new Promise((done) => setTimeout(done));
  /** Gives `step` what a generator has found, in slices of 40 ms; whether it ended. */
  const goThrough = async (generator, step) => {
    const mine = {};
    running = mine;
    stop.hidden = bar.hidden = false;
    let last;
    let slept = performance.now();
    for (const each of generator) {
      last = each;
      if (performance.now() - slept > 40) {
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
    measured.ariaLive = "off"; // until it is done
    measured.classList.remove("lab-old");
    measured.dataset.of = measurable();
    const ended = await goThrough(lab.measure(net, lab.gallery, state.changes, state), (found) => tell(found));
    measured.ariaLive = "polite";
    if (ended) measured.append(element("p", {}, "\u00b1 is one standard deviation. A network trained without a part would have learned to do without it: this does not measure what the part is worth."));
  };
  const tell = ({ done, before, after, lost, gained, changed, sure: [wrong, right] }) => {
    const difference = (gained - lost) / done;
    measured.replaceChildren(
      element("p", {}, `${net.title}, ${done} images: accuracy ${spread(before, done)} before any change, ${spread(after, done)} now. `
        + `Right answers lost: ${lost}, gained: ${gained}. Difference: ${difference > 0 ? "+" : ""}${number(difference)} \u00b1 ${number(lab.difference(lost, gained, done))}.`
        + (net.accuracy ? ` Before any change, it has ${number(net.accuracy)} on all 10,000 test images.` : "")),
    );
    const means = [[wrong, done - after, "wrong"], [right, after, "right"]].filter(([, count]) => count);
    const probable = means.map(([sum_, count, text]) => `${percent(sum_ / count)} where it is ${text}`);
    measured.append(element("p", {}, `The probability that it gives its answer now: on average ${probable.join(", ")}.`));
    const seen = changed.slice(0, 20).map((k) => thumbnail(lab.gallery[k], k, ", whose answer changed"));
    many.replaceChildren(...(seen.length ? [`Answers that changed (${changed.length}): `, ...seen] : []));
  };

  const answered = () => JSON.stringify([measurable(), state.image, String(mine ?? "")]);
  const fillKinds = () => {
    const there = new Set(net.stages.flatMap((stage) => lab.switches(net, stage)).map(({ kind }) => kind));
    fill(kinds, ["all", ...there].map((name) => [name]));
    costs.replaceChildren();
    costsTold.textContent = "";
  };
  const compare = () => {
    const before = lab.softmax(now.at(-1));
    const label = subject.label in names() ? subject.label : Math.max(lab.answer(now.at(-1)), 0);
    const found = lab.costs(net, x, state.changes, label)
      .filter(({ kind }) => ["all", kind].includes(kinds.value))
      .sort((one, other) => (one.share || 0) - (other.share || 0));
    const points = (share) => `${share > before[label] ? "+" : ""}${number(100 * (share - before[label]), 1)}`;
    const line = ({ stage, text, parts, answer, share }) => {
      const turnOff = () => {
        lab.change(state.changes, ...parts, true);
        look(parts[0]);
      };
      return answerRow(button(`${stage}: ${text}`, turnOff), answer, label, percent(before[label]), percent(share), points(share));
    };
    const other = found.filter(({ answer }) => answer !== lab.answer(now.at(-1))).length;
    costs.classList.remove("lab-old");
    costs.dataset.of = answered();
    costsTold.textContent = `Of ${found.length} parts, each off alone, ${other} change the answer.`;
    const titles = ["off alone", "then says", `${names()[label]} before`, "after", "percentage points"];
    costs.replaceChildren(answers(titles, found.map(line)));
  };

  const occlude = async () => {
    const square = { size: state.cover?.size ?? 8, shade: state.cover?.shade ?? 0 };
    const settings = { ...state, cover: undefined, seed: state.image };
    const all = lab.softmax(lab.run(net, lab.altered(subject.bytes, settings), state.changes).at(-1));
    const label = peak(all);
    cloud.hidden = false;
    await goThrough(lab.occlusion(net, subject.bytes, settings, state.changes, square, label), ({ done, map }) => {
      const lost = map.map((share, i) => (i < done ? all[label] - share : 0));
      painted(cloud, lost, { rows: 14, columns: 14 }, Math.max(largestOf(lost), 0.01));
      const most = peak(lost);
      const text = `Covered by a square of ${square.size} pixels, ${SHADES[2 * square.shade]}, the probability of ${names()[label]} falls most, from ${percent(all[label])} to ${percent(map[most])}, with its center near row ${2 * Math.floor(most / 14) + 1}, column ${2 * (most % 14) + 1}.`;
      evidence.textContent = `${done} of 196 squares. ${text} Each point of the map is the image with a square there, of the size and shade above: blue where the probability falls, because something is hidden, or because of what the square adds; orange where it rises.`;
      cloud.ariaLabel = text;
    });
  };

  let accuracies = {};
  let measuredWith; // these changes of the image
  const settings = () => JSON.stringify([...Object.keys(lab.settings).map((name) => state[name]), state.cover]);
  const eight = async () => {
    const found = [];
    for (const name of Object.keys(lab.files)) {
      const each = await open(name);
      if (!each) return;
      const logits = lab.run(each, x).at(-1);
      found.push({ name, title: each.title, answer: lab.answer(logits), shares: lab.softmax(logits) });
    }
    const saying = (label) => found.filter(({ answer }) => answer === label).length;
    const label = subject.label < 0 ? found.map(({ answer }) => answer).sort((one, other) => saying(other) - saying(one))[0] : subject.label;
    // The least sure first.
    found.sort((one, other) => one.shares[label] - other.shares[label]);
    const line = ({ name, title, answer, shares }) =>
      answerRow(button(title, () => choose(name)), answer, label, percent(shares[answer]), percent(shares[label]), accuracies[name] ?? "");
    const titles = ["network", "says", "probability", `of ${lab.classes[label]}`, "accuracy on 200"];
    table.replaceChildren(
      element("p", {}, `${saying(label)} of 8 say ${lab.classes[label]}.${subject.told} It is as you changed it; nothing is switched off in them.`),
      answers(titles, found.map(line)),
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
    if (piece || !location.hash.includes("net=")) return;
    state = lab.parse(location.hash.slice(1));
    mine = state.own && lab.unpacked(state.own);
    const found = await open(state.net);
    if (found) show(found);
  });

  // Without these, what was there stays.
  const stay = (why) => {
    place.remove();
    throw new Error(why);
  };
  const file = state.image >= 20 ? "images.js" : "first.js";
  if (!(lab.gallery?.length > state.image) && !(await loaded(file))) stay(`${file} did not load`);
  more.hidden = lab.gallery.length === 200;
  const wanted = await open(state.net);
  if (!wanted) stay(state.net in lab.files ? `${state.net}.js did not load` : `there is no network ${state.net}`);
  if (state.unknown.length) trouble.textContent = `The address has unknown parts: ${state.unknown.join(", ")}.`;
  fillGallery();
  show(wanted);
  // An address with a state is about this place.
  const [visit] = performance.getEntriesByType("navigation");
  if (!piece && address.includes("net=") && visit?.type === "navigate") container.scrollIntoView({ behavior: "instant" });
};
