/* The X-ray of a network for any image, width and batch. The plans and the drawings are
 * in networks.js, which tools/explorer.py writes. What is counted, and how, is said in
 * course_lib/summary; tests/test_summary_explorer.py compares the two, to the integer. */
"use strict";

/** Trace an image of `size` pixels a side through a network (`plan` in
 * course_lib/summary/explorer.py says what its steps are), all channels but the classes multiplied
 * by `width`. Returns a row for each stage; memory is in bytes. Throws a RangeError if the
 * network cannot take such an image. */
function xray({ stages, classes, input }, size, width = 1) {
  let row; // of the stage that is running

  const scaled = (channels) => (channels === classes ? channels : channels * width);
  const values = (x) => x.channels * x.positions ** 2;
  /** Memory that is saved for backward counts once, for the stage that made it. */
  const save = ({ memory }) => {
    if (!memory.saved) memory.row.saved_bytes += memory.bytes;
    memory.saved = true;
  };
  /** What comes of `x` by `changes`, in memory of its own. */
  const made = (x, changes, isOutput = true) => {
    const y = { ...x, ...changes };
    y.memory = { bytes: 4 * values(y), row, saved: false };
    if (isOutput) row.activations += y.memory.bytes;
    return y;
  };

  // The receptive field: that of the first of the positions begins at `start` and has
  // `field` pixels, the next is `jump` after it, `reach` is from the first to the last.
  // Of the image, only pixels from `low` to `high` are seen by any.
  const windows = (x, kernel, stride, padding, ceil) => {
    const room = x.positions + 2 * padding - kernel;
    let positions = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
    if (ceil && (positions - 1) * stride >= x.positions + padding) positions -= 1;
    if (positions < 1) throw new RangeError("too small");
    const last = Math.min((positions - 1) * stride - padding + kernel, x.positions) - 1;
    return {
      positions,
      low: Math.max(x.low, x.start + x.jump * Math.max(0, -padding)),
      high: Math.min(x.high, x.start + x.jump * last + x.field - 1),
      start: x.start - padding * x.jump,
      field: x.field + (kernel - 1) * x.jump,
      jump: x.jump * stride,
      reach: x.jump * stride * (positions - 1),
    };
  };
  const whole = (x) => ({ positions: 1, field: x.field + x.reach, jump: 0, reach: 0 });
  const adapt = (x, positions) => {
    const each = x.positions / positions;
    if (positions === 1) return whole(x);
    if (Number.isInteger(each)) return windows(x, each, each, 0);
    let more = 0;
    for (let i = 0; i < positions; i += 1) {
      const pixels = Math.ceil((i + 1) * each) - Math.floor(i * each);
      more = Math.max(more, (pixels - 1) * x.jump);
    }
    const reach = x.reach - more;
    return { positions, field: x.field + more, jump: reach ? NaN : 0, reach };
  };

  const follow = (x, steps) => steps.reduce((y, [kind, ...how]) => STEPS[kind](y, ...how), x);
  const convolution = (x, channels, kernel, stride, padding, groups, parameters) => {
    const y = made(x, { ...windows(x, kernel, stride, padding), channels });
    row.parameters += parameters;
    row.macs += (values(y) * x.channels * kernel ** 2) / groups;
    save(x);
    return y;
  };
  const pool = (x, ...how) => {
    save(x);
    return made(x, windows(x, ...how));
  };
  const join = (x, branches, channels) => {
    const ends = branches.map((branch) => follow(x, branch));
    const start = Math.min(...ends.map((end) => end.start));
    const stop = Math.max(...ends.map((end) => end.start + end.field));
    const low = Math.min(...ends.map((end) => end.low));
    const high = Math.max(...ends.map((end) => end.high));
    return made(ends[0], { start, field: stop - start, low, high, channels: channels(ends) });
  };

  const STEPS = {
    conv(x, out, kernel, stride, padding, groups, bias) {
      const channels = scaled(out);
      const parts = groups || x.channels;
      const each = (x.channels / parts) * kernel ** 2 + bias;
      return convolution(x, channels, kernel, stride, padding, parts, channels * each);
    },
    partial: (x, channels, kernel, kernels) =>
      convolution(x, channels, kernel, 1, 0, 1, kernels * kernel ** 2 + channels),
    linear(x, out, inputs) {
      const [from, to] = [inputs * width, scaled(out)];
      if (x.channels !== from) throw new RangeError("feature maps of another size");
      row.parameters += (from + 1) * to;
      row.macs += from * to;
      save(x);
      return made(x, { ...whole(x), channels: to });
    },
    rbf(x, channels) {
      row.saved_bytes += 4 * channels * x.channels; // the differences
      return made(x, { ...whole(x), channels });
    },
    max(x, ...how) {
      const y = pool(x, ...how);
      row.saved_bytes += 8 * values(y); // where each maximum was
      return y;
    },
    avg: pool,
    adaptive_avg(x, positions) {
      if (positions > 1) save(x);
      return made(x, adapt(x, positions));
    },
    subsample(x) {
      const y = pool(x, 2, 2, 0);
      row.parameters += 2 * y.channels;
      row.saved_bytes += 4 * values(y); // the sums
      return y;
    },
    bn(x) {
      row.parameters += 2 * x.channels;
      save(x);
      return made(x);
    },
    ln(x) {
      row.saved_bytes += 8 * x.positions ** 2; // mean, deviation
      return STEPS.bn(x);
    },
    factor(x) {
      row.parameters += x.channels;
      return STEPS.gelu(x);
    },
    gelu(x) {
      save(x);
      return made(x);
    },
    relu6: (x) => STEPS.gelu(x),
    lrn(x, size) {
      save(x); // and the zero-padded squares, their sums, and those to a power
      row.saved_bytes += 4 * (3 * x.channels + size - 1) * x.positions ** 2;
      return made(x);
    },
    "relu!"(x) {
      save(x);
      return x;
    },
    relu(x) {
      const y = made(x);
      save(y);
      return y;
    },
    tanh(x) {
      row.saved_bytes += 4 * values(x); // before it is scaled
      return made(x);
    },
    sigmoid: (x) => STEPS.relu(x),
    scale(x, steps) {
      const scales = follow(x, steps); // which depend on all positions
      save(x);
      const { start, field, jump, reach, low, high } = x.positions > 1 ? scales : x;
      return made(x, { start, field, jump, reach, low, high });
    },
    dropout(x) {
      row.saved_bytes += 4 * values(x); // what is dropped
      return made(x, {}, false);
    },
    flatten: (x) => ({ ...x, channels: values(x), positions: 1, jump: x.reach && x.jump, flat: true }),
    pad: (x, more, stride) =>
      made(x, { ...windows(x, 1, stride, 0), channels: x.channels + more * width }),
    sum: (x, ...branches) => join(x, branches, (ends) => ends[0].channels),
    cat: (x, ...branches) =>
      join(x, branches, (ends) => ends.reduce((sum, end) => sum + end.channels, 0)),
    times(x, count, steps) {
      let y = x;
      for (let i = 0; i < count; i += 1) y = follow(y, steps);
      return y;
    },
  };

  let x = { channels: input[0], positions: size, start: 0, field: 1, jump: 1, reach: size - 1, low: 0, high: size - 1 };
  x.memory = { saved: true };
  return Object.entries(stages).map(([name, steps]) => {
    row = { name, parameters: 0, macs: 0, activations: 0, saved_bytes: 0 };
    x = follow(x, steps);
    const shape = x.flat ? [x.channels] : [x.channels, x.positions, x.positions];
    const [stride, center] = [x.jump, x.start + (x.field - 1) / 2];
    const seen = x.low <= 0 && x.high >= size - 1;
    const all = seen && stride === 0 && Math.abs(2 * center - size + 1) <= x.field - size;
    return Object.assign(row, { shape, field: x.field, stride, center, all });
  });
}

/** The smallest image that a network takes, and the largest up to `limit`. */
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

/** Make the table in `container` two networks side by side that readers can change. Its
 * attributes `data-network` and `data-beside` name those that it opens with; without them
 * it is the pair that the chapter on the comparison is about. */
xray.explore = (container, networks) => {
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
  const short = (value, unit = "") => {
    const powers = ["", "k", "M", "G", "T", "P"];
    let power = 0;
    let rest = value;
    for (; rest >= 999.5 && power < powers.length - 1; power += 1) rest /= 1000;
    const digits = power ? Number(rest.toPrecision(3)) : rest;
    return `${digits.toLocaleString("en")} ${powers[power]}${unit}`.trim();
  };

  const names = Object.fromEntries(Object.keys(networks).map((name) => [name, name]));
  const widths = { 0.25: "a quarter", 0.5: "half", 1: "as published", 2: "double" };
  const batch = number(1, 65536);
  const COUNTS = {
    Parameters: (row) => [row.parameters, ""],
    MACs: (row) => [row.macs * Number(batch.value), ""],
    "Saved for backward": (row) => [row.saved_bytes * Number(batch.value), "B"],
  };

  /** One of the two networks: its controls, its table and its drawing. */
  const side = (title, opens, mayBeNone) => {
    const choices = mayBeNone ? { "": "none", ...names } : names;
    const network = element("select", {}, ...options(choices, opens));
    const [size, width] = [number(224, 1024), element("select", {}, ...options(widths, "1"))];
    const controls = element(
      "fieldset",
      {},
      element("legend", {}, title),
      field("Network", network),
      field("Image size, pixels", size),
      field("Channels", width),
    );
    const drawing = element("div", { class: "drawing", role: "region", tabindex: 0 });
    const table = element("table");
    const scroll = { class: "explorer-table", tabindex: 0, role: "region" };
    scroll["aria-label"] = `Table of the stages, ${title.toLowerCase()}`;
    const panel = element("div", { class: "panel" }, element("div", scroll, table), drawing);
    return { network, size, width, controls, drawing, table, panel, limits: [1, 1024] };
  };

  const sides = [
    side("A network", container.dataset.network ?? "AlexNet", false),
    side("Beside it", container.dataset.beside ?? "GoogLeNet", true),
  ];
  const form = element(
    "form",
    { "aria-label": "What to compute" },
    ...sides.map((each) => each.controls),
    field("Batch size", batch),
  );
  const status = element("p", { role: "status" });
  const totals = element("table", { class: "totals" });
  const panels = element("div", { class: "panels" }, ...sides.map((each) => each.panel));
  container.replaceChildren(form, status, totals, panels);

  /** Mark the chosen stage of a side in its table and in its drawing. */
  const mark = (each) => {
    each.table.querySelectorAll("tbody tr").forEach((line, index) => {
      const button = line.querySelector("button");
      const on = button.textContent === each.chosen;
      button.setAttribute("aria-pressed", on);
      line.classList.toggle("chosen", on);
      each.drawing.querySelectorAll(".bb-stage")[index].classList.toggle("chosen", on);
    });
  };
  const choose = (each, name) => {
    each.chosen = each.chosen === name ? undefined : name;
    mark(each);
  };

  /** The drawing with the shapes and the channels of now. */
  const draw = (each, { svg, classes, input, name }, rows, factor) => {
    const { drawing, size } = each;
    drawing.innerHTML = svg;
    drawing.setAttribute("aria-label", `Drawing of ${name}`);
    let stage = -1;
    for (const part of drawing.querySelector("svg").children) {
      const shape = stage < 0 ? [input[0], size.value, size.value] : rows[stage]?.shape;
      if (part.matches(".bb-stage")) {
        stage += 1;
        const { name: here } = rows[stage];
        part.addEventListener("click", () => choose(each, here));
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

  /** What a stage is, without its name: to tell whether two are the same. */
  const content = (row) => JSON.stringify([row.shape, row.parameters, row.macs, row.saved_bytes]);

  /** The table of one side; a stage that the other one has not, as it is, is marked. */
  const tabulate = (each, rows, total, others) => {
    const name = each.network.value;
    const same = new Set(others.map((row) => row.name + content(row)));
    const line = (row) => {
      const button = element("button", { type: "button" }, row.name);
      button.addEventListener("click", () => choose(each, row.name));
      const cells = Object.values(COUNTS).map((count) => {
        const [value, unit] = count(row);
        const share = `--share: ${(100 * value) / (count(total)[0] || 1)}%`;
        const title = value.toLocaleString("en");
        return element("td", row.total ? { title } : { title, style: share }, short(value, unit));
      });
      const extent = row.total ? "" : row.all ? "all" : String(row.field);
      const differs = others.length && !row.total && !same.has(row.name + content(row));
      return element(
        "tr",
        differs ? { class: "differs" } : {},
        element("th", { scope: "row" }, row.total ? row.name : button),
        element("td", {}, row.shape.join("×")),
        ...cells,
        element("td", {}, extent),
      );
    };
    const titles = ["Stage", "Output", ...Object.keys(COUNTS), "Field"];
    const head = titles.map((title) => element("th", { scope: "col" }, title));
    each.table.replaceChildren(
      element("caption", {}, `${name}, stage by stage`),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...rows.map(line)),
      element("tfoot", {}, line(total)),
    );
  };

  /** The costs of both, and how many times those of the first the second has. */
  const compare = (found) => {
    totals.hidden = found.length < 2;
    if (totals.hidden) return;
    const head = ["", ...found.map(({ name }) => name), "ratio"];
    const line = ([title, count]) => {
      const [one, two] = found.map(({ total }) => count(total));
      const cells = [short(...one), short(...two), (two[0] / one[0]).toFixed(2)];
      const heading = element("th", { scope: "row" }, title);
      return element("tr", {}, heading, ...cells.map((text) => element("td", {}, text)));
    };
    totals.replaceChildren(
      element("caption", {}, "Both, and the second over the first"),
      element("thead", {}, element("tr", {}, ...head.map((t) => element("th", { scope: "col" }, t)))),
      element("tbody", {}, ...Object.entries(COUNTS).map(line)),
    );
  };

  const show = () => {
    const active = sides.filter((each) => each.network.value);
    sides[1].panel.hidden = active.length < 2;
    const wrong = active.find((each) => !each.size.value || !each.size.checkValidity());
    const fits = !wrong && batch.value && batch.checkValidity();
    form.classList.toggle("invalid", !fits);
    if (!fits) {
      const { network, limits } = wrong ?? active[0];
      const [from, to] = limits;
      const range = from === to ? `of ${from}` : `from ${from} to ${to}`;
      status.textContent = `${network.value} takes images ${range} pixels a side, here in batches of 1 to ${batch.max}.`;
      return;
    }
    const found = active.map((each) => {
      const picked = { ...networks[each.network.value], name: each.network.value };
      const factor = Number(each.width.value);
      const rows = xray(picked, Number(each.size.value), factor);
      const total = { name: "all", shape: rows.at(-1).shape, total: true };
      for (const what of ["parameters", "macs", "saved_bytes"]) {
        total[what] = rows.reduce((sum, row) => sum + row[what], 0);
      }
      return { each, picked, factor, rows, total, name: picked.name };
    });
    found.forEach(({ each, picked, factor, rows, total }, index) => {
      tabulate(each, rows, total, found[1 - index]?.rows ?? []);
      draw(each, picked, rows, factor);
      mark(each);
    });
    compare(found);
    status.textContent = found
      .map(({ name, total }) => {
        const state = 12 * total.parameters; // three values of four bytes
        const saved = total.saved_bytes * Number(batch.value);
        return (
          `${name}: ${total.parameters.toLocaleString("en")} parameters, ` +
          `${COUNTS.MACs(total)[0].toLocaleString("en")} multiply-accumulates. ` +
          `Training takes ${short(saved + state, "B")}: ${short(saved, "B")} of activations ` +
          `saved for backward, ${short(state, "B")} for parameters, gradients and momentum.`
        );
      })
      .join(" ");
  };

  const pick = (each) => {
    const chosen = networks[each.network.value];
    each.size.disabled = !chosen;
    each.width.disabled = !chosen?.scalable;
    if (!chosen?.scalable) each.width.value = "1";
    each.chosen = undefined;
    if (chosen) {
      each.limits = xray.sizes(chosen, 1024);
      [each.size.min, each.size.max] = each.limits;
      each.size.value = chosen.input[1];
    }
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const each of sides) {
    pick(each);
    each.network.addEventListener("change", () => {
      pick(each);
      show();
    });
    for (const control of [each.size, each.width]) control.addEventListener("input", show);
  }
  batch.addEventListener("input", show);
  show();
};

if (typeof document !== "undefined") {
  const here = document.currentScript.src;
  document.addEventListener("DOMContentLoaded", () => {
    const container = document.querySelector(".explorer");
    if (!container) return;
    const script = document.createElement("script");
    script.src = new URL("networks.js", here);
    script.addEventListener("load", () => xray.explore(container, xray.networks));
    document.head.append(script);
  });
}
