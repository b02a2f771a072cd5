/* The X-ray of a network for any picture, width and batch. The plans and the drawings are
 * in networks.js, which tools/explorer.py writes. What is counted, and how, is said in
 * course_lib/summary; tests/test_summary_explorer.py compares the two, to the integer. */
"use strict";

/** Follow a picture of `size` pixels a side through a network (`plan` in
 * course_lib/summary/explorer.py says what its steps are), all channels but the classes multiplied
 * by `width`. Returns a row for each stage; memory is in bytes. Throws a RangeError if the
 * network cannot take such a picture. */
function xray({ stages, classes, input }, size, width = 1) {
  let row; // of the stage that is running

  const scaled = (channels) => (channels === classes ? channels : channels * width);
  const numbers = (x) => x.channels * x.places ** 2;
  /** Memory that training keeps counts once, for the stage that made it. */
  const keep = ({ memory }) => {
    if (!memory.kept) memory.row.saved_bytes += memory.bytes;
    memory.kept = true;
  };
  /** What comes of `x` by `changes`, in memory of its own. */
  const made = (x, changes, handedOn = true) => {
    const y = { ...x, ...changes };
    y.memory = { bytes: 4 * numbers(y), row, kept: false };
    if (handedOn) row.activations += y.memory.bytes;
    return y;
  };

  // What is seen: the first of the places, from `start` on, `sees` pixels, the next is
  // `jump` behind it, and `reach` are the pixels from the first to the last.
  const windows = (x, kernel, stride, padding, ceil) => {
    const room = x.places + 2 * padding - kernel;
    let places = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
    if (ceil && (places - 1) * stride >= x.places + padding) places -= 1;
    if (places < 1) throw new RangeError("too small");
    return {
      places,
      start: x.start - padding * x.jump,
      sees: x.sees + (kernel - 1) * x.jump,
      jump: x.jump * stride,
      reach: x.jump * stride * (places - 1),
    };
  };
  const whole = (x) => ({ places: 1, sees: x.sees + x.reach, jump: 0, reach: 0 });
  const adapt = (x, places) => {
    const each = x.places / places;
    if (places === 1) return whole(x);
    if (Number.isInteger(each)) return windows(x, each, each, 0);
    let more = 0;
    for (let i = 0; i < places; i += 1) {
      const pixels = Math.ceil((i + 1) * each) - Math.floor(i * each);
      more = Math.max(more, (pixels - 1) * x.jump);
    }
    const reach = x.reach - more;
    return { places, sees: x.sees + more, jump: reach ? NaN : 0, reach };
  };

  const follow = (x, steps) => steps.reduce((y, [kind, ...how]) => STEPS[kind](y, ...how), x);
  const convolution = (x, channels, kernel, stride, padding, groups, parameters) => {
    const y = made(x, { ...windows(x, kernel, stride, padding), channels });
    row.parameters += parameters;
    row.macs += (numbers(y) * x.channels * kernel ** 2) / groups;
    keep(x);
    return y;
  };
  const pool = (x, ...how) => {
    keep(x);
    return made(x, windows(x, ...how));
  };
  const join = (x, ways, channels) => {
    const ends = ways.map((way) => follow(x, way));
    const start = Math.min(...ends.map((end) => end.start));
    const stop = Math.max(...ends.map((end) => end.start + end.sees));
    return made(ends[0], { start, sees: stop - start, channels: channels(ends) });
  };

  const STEPS = {
    conv(x, out, kernel, stride, padding, groups, bias) {
      const channels = scaled(out);
      const each = (x.channels / groups) * kernel ** 2 + bias;
      return convolution(x, channels, kernel, stride, padding, groups, channels * each);
    },
    partial: (x, channels, kernel, kernels) =>
      convolution(x, channels, kernel, 1, 0, 1, kernels * kernel ** 2 + channels),
    full(x, out, inputs) {
      const [from, to] = [inputs * width, scaled(out)];
      if (x.channels !== from) throw new RangeError("maps of another size");
      row.parameters += (from + 1) * to;
      row.macs += from * to;
      keep(x);
      return made(x, { ...whole(x), channels: to });
    },
    codes(x, channels) {
      row.saved_bytes += 4 * channels * x.channels; // the differences
      return made(x, { ...whole(x), channels });
    },
    max(x, ...how) {
      const y = pool(x, ...how);
      row.saved_bytes += 8 * numbers(y); // where each maximum was
      return y;
    },
    avg: pool,
    mean(x, places) {
      if (places > 1) keep(x);
      return made(x, adapt(x, places));
    },
    subsample(x) {
      const y = pool(x, 2, 2, 0);
      row.parameters += 2 * y.channels;
      row.saved_bytes += 4 * numbers(y); // the sums
      return y;
    },
    bn(x) {
      row.parameters += 2 * x.channels;
      keep(x);
      return made(x);
    },
    lrn(x, maps) {
      keep(x); // and the squares between zeros, what they add up to, and its power
      row.saved_bytes += 4 * (3 * x.channels + maps - 1) * x.places ** 2;
      return made(x);
    },
    "relu!"(x) {
      keep(x);
      return x;
    },
    relu(x) {
      const y = made(x);
      keep(y);
      return y;
    },
    tanh(x) {
      row.saved_bytes += 4 * numbers(x); // before it is scaled
      return made(x);
    },
    drop(x) {
      row.saved_bytes += 4 * numbers(x); // what is dropped
      return made(x, {}, false);
    },
    flat: (x) => ({ ...x, channels: numbers(x), places: 1, jump: x.reach && x.jump, flat: true }),
    pad: (x, more, stride) =>
      made(x, { ...windows(x, 1, stride, 0), channels: x.channels + more * width }),
    sum: (x, ...ways) => join(x, ways, (ends) => ends[0].channels),
    cat: (x, ...ways) =>
      join(x, ways, (ends) => ends.reduce((sum, end) => sum + end.channels, 0)),
    times(x, count, steps) {
      let y = x;
      for (let i = 0; i < count; i += 1) y = follow(y, steps);
      return y;
    },
  };

  let x = { channels: input[0], places: size, start: 0, sees: 1, jump: 1, reach: size - 1 };
  x.memory = { kept: true };
  return Object.entries(stages).map(([name, steps]) => {
    row = { name, parameters: 0, macs: 0, activations: 0, saved_bytes: 0 };
    x = follow(x, steps);
    const shape = x.flat ? [x.channels] : [x.channels, x.places, x.places];
    const [stride, center] = [x.jump, x.start + (x.sees - 1) / 2];
    const all = stride === 0 && Math.abs(2 * center - size + 1) <= x.sees - size;
    return Object.assign(row, { shape, sees: x.sees, stride, center, all });
  });
}

/** The smallest picture that a network takes, and the largest up to `limit`. */
xray.sizes = (network, limit = 1024) => {
  const takes = (size) => {
    try {
      return xray(network, size).length > 0;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  };
  let smallest = 1;
  while (!takes(smallest)) smallest += 1;
  let largest = takes(limit) ? limit : smallest;
  while (largest < limit && takes(largest + 1)) largest += 1;
  return [smallest, largest];
};

/** Make the table in `place` one that readers can change. */
xray.explore = (place, networks) => {
  const element = (name, attributes = {}, ...content) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  };
  const field = (text, control) => element("label", {}, element("span", {}, text), control);
  const options = (values, chosen) =>
    Object.entries(values).map(([value, text]) =>
      element("option", value === chosen ? { value, selected: "" } : { value }, text),
    );
  const number = (value, max) =>
    element("input", { type: "number", min: 1, max, step: 1, value, inputmode: "numeric" });

  const names = Object.fromEntries(Object.keys(networks).map((name) => [name, name]));
  const widths = { 0.25: "a quarter", 0.5: "half", 1: "as published", 2: "double" };
  const network = element("select", {}, ...options(names, "ResNet-50"));
  const size = number(224, 1024);
  const width = element("select", {}, ...options(widths, "1"));
  const batch = number(1, 65536);
  const form = element(
    "form",
    { "aria-label": "What to compute" },
    field("Network", network),
    field("Pixels a side", size),
    field("Channels", width),
    field("Pictures in a batch", batch),
  );
  const drawing = element("div", { class: "drawing", tabindex: 0, role: "region" });
  const status = element("p", { role: "status" });
  const table = element("table");
  const scroll = { class: "explorer-table", tabindex: 0, role: "region" };
  scroll["aria-label"] = "Table of the stages";
  place.replaceChildren(form, status, element("div", scroll, table), drawing);

  let chosen; // the name of a stage
  let limits = [1, 1024];

  const short = (value, unit = "") => {
    const powers = ["", "k", "M", "G", "T", "P"];
    let power = 0;
    let rest = value;
    for (; rest >= 999.5 && power < powers.length - 1; power += 1) rest /= 1000;
    const digits = power ? Number(rest.toPrecision(3)) : rest;
    return `${digits.toLocaleString("en")} ${powers[power]}${unit}`.trim();
  };

  /** Mark the chosen stage in the table and in the drawing. */
  const mark = (scrolls) => {
    table.querySelectorAll("tbody tr").forEach((line, index) => {
      const button = line.querySelector("button");
      const on = button.textContent === chosen;
      button.setAttribute("aria-pressed", on);
      line.classList.toggle("chosen", on);
      const stage = drawing.querySelectorAll(".bb-stage")[index];
      stage.classList.toggle("chosen", on);
      if (!on || !scrolls) return;
      const [top, around] = [stage, drawing].map((e) => e.getBoundingClientRect());
      drawing.scrollBy(0, (top.top + top.bottom - around.top - around.bottom) / 2);
      drawing.scrollBy((top.left + top.right - around.left - around.right) / 2, 0);
    });
  };
  const choose = (name) => {
    chosen = chosen === name ? undefined : name;
    mark(true);
  };

  /** The drawing with the shapes and the channels of now. */
  const draw = ({ svg, classes, input, name }, rows, factor) => {
    drawing.innerHTML = svg;
    drawing.setAttribute("aria-label", `Drawing of ${name}`);
    let stage = -1;
    for (const part of drawing.querySelector("svg").children) {
      const shape = stage < 0 ? [input[0], size.value, size.value] : rows[stage]?.shape;
      if (part.matches(".bb-stage")) {
        stage += 1;
        const { name: here } = rows[stage];
        part.addEventListener("click", () => choose(here));
      } else if (part.matches(".bb-label") && /^\d[\d×]*$/.test(part.textContent)) {
        part.textContent = shape.join("×");
      }
    }
    for (const words of drawing.querySelectorAll(".bb-stage text")) {
      words.textContent = words.textContent.replace(/, (\d+)(?=,|$)/g, (_, channels) =>
        Number(channels) === classes ? `, ${channels}` : `, ${channels * factor}`,
      );
    }
  };

  const show = () => {
    const picked = { ...networks[network.value], name: network.value };
    const [pixels, pictures, factor] = [size, batch, width].map((each) => Number(each.value));
    const fits = size.value && size.checkValidity() && batch.value && batch.checkValidity();
    form.classList.toggle("invalid", !fits);
    if (!fits) {
      const [from, to] = limits;
      const range = from === to ? `of ${from}` : `from ${from} to ${to}`;
      status.textContent = `${network.value} takes pictures ${range} pixels a side, here in batches of 1 to ${batch.max}.`;
      return;
    }
    const rows = xray(picked, pixels, factor);
    const total = { name: "all", shape: rows.at(-1).shape, total: true };
    for (const what of ["parameters", "macs", "saved_bytes"]) {
      total[what] = rows.reduce((sum, row) => sum + row[what], 0);
    }
    const counts = {
      Parameters: (row) => [row.parameters, ""],
      MACs: (row) => [row.macs * pictures, ""],
      Memory: (row) => [row.saved_bytes * pictures, "B"],
    };
    const titles = ["Stage", "Output", ...Object.keys(counts), "Sees, pixels"];
    const line = (row) => {
      const button = element("button", { type: "button" }, row.name);
      button.addEventListener("click", () => choose(row.name));
      const cells = Object.values(counts).map((count) => {
        const [value, unit] = count(row);
        const share = `--share: ${(100 * value) / (count(total)[0] || 1)}%`;
        const title = value.toLocaleString("en");
        return element("td", row.total ? { title } : { title, style: share }, short(value, unit));
      });
      const sees = row.total ? "" : row.all ? "all" : String(row.sees);
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, row.total ? row.name : button),
        element("td", {}, row.shape.join("×")),
        ...cells,
        element("td", {}, sees),
      );
    };
    const head = titles.map((title) => element("th", { scope: "col" }, title));
    table.replaceChildren(
      element("caption", {}, `${network.value}, stage by stage`),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...rows.map(line)),
      element("tfoot", {}, line(total)),
    );
    const state = 12 * total.parameters; // three numbers of four bytes
    const kept = total.saved_bytes * pictures;
    status.textContent =
      `${network.value}: ${total.parameters.toLocaleString("en")} parameters, ` +
      `${(total.macs * pictures).toLocaleString("en")} multiply-accumulates. ` +
      `Training takes ${short(kept + state, "B")}: ${short(kept, "B")} for what it keeps ` +
      `of the pictures, ${short(state, "B")} for parameters, gradients and momentum.`;
    draw(picked, rows, factor);
    mark(false);
  };

  const pick = () => {
    const { input, scalable } = networks[network.value];
    width.disabled = !scalable;
    if (!scalable) width.value = "1";
    limits = xray.sizes(networks[network.value], 1024);
    [size.min, size.max] = limits;
    size.value = input[1];
    chosen = undefined;
    show();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  network.addEventListener("change", pick);
  for (const control of [size, width, batch]) control.addEventListener("input", show);
  pick();
};

if (typeof document !== "undefined") {
  const here = document.currentScript.src;
  document.addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector(".explorer");
    if (!place) return;
    const script = document.createElement("script");
    script.src = new URL("networks.js", here);
    script.addEventListener("load", () => xray.explore(place, xray.networks));
    document.head.append(script);
  });
}
