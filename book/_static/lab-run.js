/* Networks that run in the page: what carries out programs of operations, and knows of no page.
 * course_lib/lab makes them; tests/test_lab.py compares each operation and change with PyTorch. */
"use strict";

const lab = { programs: {} };

/** What the files of networks call. */
lab.add = (program) => {
  lab.programs[program.name] = program;
};

/** The bytes that a text in base64 stands for. */
lab.decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** The weights of 8 bits in a text: course_lib/lab/weights.py has the characters. */
lab.signed = (text) => {
  const numbers = new Int8Array(text.length);
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    const place = code < 0xc0 ? code - 0x20 - (code > 0x22) - (code > 0x5c) : code - 0xc0 + 93;
    numbers[i] = place % 2 ? -(place + 1) / 2 : place / 2;
  }
  return numbers;
};

/** A program that can be run: its weights as numbers of 32 bits, and the shapes of what each operation
 * reads. (`| 0` makes sizes whole: what comes of a division is slower.) A RangeError if it is none. */
lab.open = (program) => {
  if (typeof program.weights !== "string") {
    throw new RangeError("its weights are written in an older form: export it again");
  }
  const floats = new Float32Array(lab.decode(program.floats).buffer);
  const whole = lab.signed(program.weights);
  const sized = ([channels, rows = 1, columns = 1]) => ({
    channels: channels | 0,
    rows: rows | 0,
    columns: columns | 0,
    area: (rows * columns) | 0,
    length: (channels * rows * columns) | 0,
  });
  const image = sized(program.input);
  const ops = [];
  for (const [index, op] of program.ops.entries()) {
    if (!(op.kind in lab.operations)) throw new RangeError(`there is no operation ${op.kind}`);
    if (op.inputs.some((number) => number < -1 || number >= index)) {
      throw new RangeError(`operation ${index} reads what is not there yet`);
    }
    const made = { ...op, ...sized(op.shape), index, number: {} };
    made.given = op.inputs.map((number) => (number < 0 ? image : ops[number]));
    const some = (start) => floats.subarray(start, start + made.channels);
    if ("weight" in op) {
      made.w = new Float32Array(made.channels * op.size);
      const factors = some(op.factors);
      for (let i = 0; i < made.w.length; i += 1) {
        made.w[i] = whole[op.weight + i] * factors[Math.floor(i / op.size)];
      }
      made.b = op.bias < 0 ? new Float32Array(made.channels) : some(op.bias);
    }
    if (op.kind === "norm") [made.f, made.o] = [some(op.factor), some(op.offset)];
    ops.push(made);
  }
  return { ...program, data: "", ops, image };
};

/** y[o, i] = b[o] + sum over j of w[o, j] x[i, j], for all outputs and places: four outputs and two
 * places at once, so that each number that is read is used several times. */
lab.product = (w, x, b, y, outputs, size, places) => {
  for (let o = 0; o < outputs; o += 4) {
    const [p, q, r] = [1, 2, 3].map((more) => Math.min(o + more, outputs - 1) | 0);
    const [w0, w1, w2, w3] = [o, p, q, r].map((row) => (row * size) | 0);
    for (let i = 0; i < places; i += 2) {
      const n = Math.min(i + 1, places - 1) | 0;
      const x0 = (i * size) | 0;
      const x1 = (n * size) | 0;
      let [a0, a1, a2, a3] = [b[o], b[p], b[q], b[r]];
      let [c0, c1, c2, c3] = [a0, a1, a2, a3];
      for (let j = 0; j < size; j += 1) {
        const u = x[x0 + j];
        const v = x[x1 + j];
        let t = w[w0 + j];
        a0 += t * u;
        c0 += t * v;
        t = w[w1 + j];
        a1 += t * u;
        c1 += t * v;
        t = w[w2 + j];
        a2 += t * u;
        c2 += t * v;
        t = w[w3 + j];
        a3 += t * u;
        c3 += t * v;
      }
      y[o * places + i] = a0;
      y[o * places + n] = c0;
      y[p * places + i] = a1;
      y[p * places + n] = c1;
      y[q * places + i] = a2;
      y[q * places + n] = c2;
      y[r * places + i] = a3;
      y[r * places + n] = c3;
    }
  }
};

/** The windows of an image one after the other, with zeros for the padding: "im2col". */
lab.windows = (op, x) => {
  const { channels, rows, columns } = op.given[0];
  const [[high, wide], [down, right], [top, left]] = [op.kernel, op.stride, op.padding];
  const size = (channels * high * wide) | 0;
  const length = (size * op.area) | 0;
  if (!lab.scratch || lab.scratch.length < length) lab.scratch = new Float32Array(length);
  const found = lab.scratch.fill(0, 0, length);
  for (let c = 0, j = 0; c < channels; c += 1) {
    for (let u = 0; u < high; u += 1) {
      for (let v = 0; v < wide; v += 1, j += 1) {
        for (let i = 0; i < op.rows; i += 1) {
          const row = (i * down + u - top) | 0;
          if (row < 0 || row >= rows) continue;
          const start = ((c * rows + row) * columns) | 0;
          for (let k = 0; k < op.columns; k += 1) {
            const column = (k * right + v - left) | 0;
            if (column < 0 || column >= columns) continue;
            found[(i * op.columns + k) * size + j] = x[start + column];
          }
        }
      }
    }
  }
  return found;
};

/** Pooling: what `join` makes of the numbers under each window, and of how many numbers the
 * window has together with those of the padding. */
lab.pool = (op, x, y, start, join, end) => {
  const { rows, columns } = op.given[0];
  const [[high, wide], [down, right], [top, left]] = [op.kernel, op.stride, op.padding];
  for (let c = 0, at = 0; c < op.channels; c += 1) {
    for (let i = 0; i < op.rows; i += 1) {
      for (let k = 0; k < op.columns; k += 1, at += 1) {
        const [r, s] = [i * down - top, k * right - left];
        const [bottom, side] = [Math.min(r + high, rows + top), Math.min(s + wide, columns + left)];
        let [found, count] = [start, 0];
        for (let u = Math.max(r, 0); u < Math.min(bottom, rows); u += 1) {
          for (let v = Math.max(s, 0); v < Math.min(side, columns); v += 1, count += 1) {
            found = join(found, x[(c * rows + u) * columns + v]);
          }
        }
        y[at] = end(found, op.include ? (bottom - r) * (side - s) : count);
      }
    }
  }
};

/** What each kind of operation writes into `y`, given what it reads. */
lab.operations = {
  conv: (op, y, [x]) => lab.product(op.w, lab.windows(op, x), op.b, y, op.channels, op.size, op.area),
  full: (op, y, [x]) => lab.product(op.w, x, op.b, y, op.channels, op.size, 1),
  norm(op, y, [x]) {
    for (let c = 0, i = 0; c < op.channels; c += 1) {
      const [factor, offset] = [op.f[c], op.o[c]];
      for (let k = 0; k < op.area; k += 1, i += 1) y[i] = x[i] * factor + offset;
    }
  },
  lrn(op, y, [x]) {
    const before = Math.floor(op.size / 2);
    for (let c = 0, i = 0; c < op.channels; c += 1) {
      const [low, high] = [Math.max(c - before, 0), Math.min(c - before + op.size, op.channels)];
      for (let k = 0; k < op.area; k += 1, i += 1) {
        let sum = 0;
        for (let other = low; other < high; other += 1) sum += x[other * op.area + k] ** 2;
        y[i] = x[i] / (op.k + (op.alpha * sum) / op.size) ** op.beta;
      }
    }
  },
  relu(op, y, [x]) {
    for (let i = 0; i < op.length; i += 1) y[i] = x[i] < 0 ? 0 : x[i];
  },
  max: (op, y, [x]) => lab.pool(op, x, y, -Infinity, (m, v) => (v > m || v !== v ? v : m), (m) => m),
  avg: (op, y, [x]) => lab.pool(op, x, y, 0, (sum, v) => sum + v, (sum, count) => sum / count),
  mean(op, y, [x]) {
    const { area } = op.given[0];
    for (let c = 0; c < op.channels; c += 1) {
      let sum = 0;
      for (let k = 0; k < area; k += 1) sum += x[c * area + k];
      y[c] = sum / area;
    }
  },
  add(op, y, [x, other]) {
    for (let i = 0; i < op.length; i += 1) y[i] = x[i] + other[i];
  },
  cat(op, y, parts) {
    parts.reduce((at, part) => {
      y.set(part, at);
      return at + part.length;
    }, 0);
  },
};

/** What all operations make of an image, with `changes`, each of one operation `op`:
 * `pass` a number: it is left out, and what that other operation made stands in its place;
 * `drop` numbers: those of its inputs are zero; `off` channels: those of its output are zero;
 * `only` channels: all but those are. What is before the operation `from` is taken from `values`,
 * those of another run. */
lab.run = (net, image, changes = [], from = 0, values = []) => {
  const made = values.slice(0, from);
  const value = (number) => (number < 0 ? image : made[number]);
  for (const op of net.ops.slice(from)) {
    const here = changes.filter((change) => change.op === op.index);
    const passed = here.find((change) => "pass" in change);
    const dropped = here.flatMap((change) => change.drop ?? []);
    let y = new Float32Array(op.length);
    if (passed) y.set(value(passed.pass));
    else {
      const given = op.inputs.map((number, index) =>
        dropped.includes(index) ? new Float32Array(op.given[index].length) : value(number),
      );
      lab.operations[op.kind](op, y, given);
    }
    for (const { off = [], only } of here) {
      for (let c = 0; c < op.channels; c += 1) {
        if (off.includes(c) || (only && !only.includes(c))) y.fill(0, c * op.area, (c + 1) * op.area);
      }
    }
    made.push(y);
  }
  return made;
};

/** The probabilities of the classes. */
lab.softmax = (logits) => {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
};

/** The class with the largest logit; none if they are no numbers any more. */
lab.answer = (logits) => {
  if (logits.some(Number.isNaN)) return -1;
  return logits.indexOf(Math.max(...logits));
};

/** Which pixels a position of an operation's output sees: the first and the last row, and the
 * first and the last column. */
lab.field = (net, index, row, column) => {
  const seen = new Map([[index, [row, row, column, column]]]);
  const see = (number, [top, bottom, left, right]) => {
    const { rows, columns } = number < 0 ? net.image : net.ops[number];
    const [t, b, l, r] = seen.get(number) ?? [rows, -1, columns, -1];
    seen.set(number, [
      Math.max(Math.min(t, top), 0),
      Math.min(Math.max(b, bottom), rows - 1),
      Math.max(Math.min(l, left), 0),
      Math.min(Math.max(r, right), columns - 1),
    ]);
  };
  for (let i = index; i >= 0; i -= 1) {
    const op = net.ops[i];
    let box = seen.get(i);
    if (!box) continue;
    if (op.kernel) {
      const [[high, wide], [down, side], [above, before]] = [op.kernel, op.stride, op.padding];
      box = [
        box[0] * down - above,
        box[1] * down - above + high - 1,
        box[2] * side - before,
        box[3] * side - before + wide - 1,
      ];
    } else if (op.kind === "full" || op.kind === "mean" || op.area !== op.given[0].area) {
      box = [0, Infinity, 0, Infinity];
    }
    for (const number of op.inputs) see(number, box);
  }
  return seen.get(-1);
};

/** How a convolution comes to one number of its output: for each input channel the window, the
 * kernel and the sum of their products, and the bias. */
lab.terms = (net, values, image, index, channel, row, column) => {
  const op = net.ops[index];
  const [input] = op.given;
  const x = op.inputs[0] < 0 ? image : values[op.inputs[0]];
  const [high, wide] = op.kernel;
  const inputs = Array.from({ length: input.channels }, (_, c) => {
    const [window, kernel] = [[], []];
    let sum = 0;
    for (let u = 0; u < high; u += 1) {
      [window[u], kernel[u]] = [[], []];
      for (let v = 0; v < wide; v += 1) {
        const [r, s] = [row * op.stride[0] + u - op.padding[0], column * op.stride[1] + v - op.padding[1]];
        const inside = r >= 0 && r < input.rows && s >= 0 && s < input.columns;
        window[u][v] = inside ? x[(c * input.rows + r) * input.columns + s] : 0;
        kernel[u][v] = op.w[channel * op.size + (c * high + u) * wide + v];
        sum += window[u][v] * kernel[u][v];
      }
    }
    return { window, kernel, sum };
  });
  return { inputs, bias: op.b[channel] };
};

/* ---- The images. ---- */

/** Images in a text: bytes, each zero followed by how many more there are. */
lab.images = (text, size) => {
  const [bytes, all] = [lab.decode(text), []];
  for (let i = 0; i < bytes.length; i += 1) {
    all.push(bytes[i]);
    if (bytes[i] === 0) {
      for (let more = bytes[i + 1]; more > 0; more -= 1) all.push(0);
      i += 1;
    }
  }
  return Array.from({ length: all.length / size }, (_, k) => Uint8Array.from(all.slice(k * size, (k + 1) * size)));
};

/** Mean and standard deviation of the training images, where black is 0 and white is 1. */
lab.normalization = [0.2858, 0.3529];

/** Random numbers of a standard normal distribution, always the same for a seed. */
lab.random = (seed) => {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
};

/** An image of bytes as networks read it, after what readers do to it, in this order: turned by
 * degrees, clockwise; shifted; contrast around gray, where -1 makes the negative; noise, in standard
 * deviations of the training images; a square of a shade. */
lab.altered = (bytes, settings = {}, side = 28) => {
  const { turn = 0, right = 0, down = 0, contrast = 1, noise = 0, seed = 0, cover } = settings;
  const [mean, deviation] = lab.normalization;
  const [cos, sin] = [Math.cos((turn * Math.PI) / 180), Math.sin((turn * Math.PI) / 180)];
  const middle = (side - 1) / 2;
  const pixel = (row, column) =>
    row >= 0 && row < side && column >= 0 && column < side ? bytes[row * side + column] : 0;
  const random = lab.random(seed);
  return Float32Array.from({ length: side * side }, (_, i) => {
    const [row, column] = [Math.floor(i / side), i % side];
    const [y, x] = [row - down - middle, column - right - middle];
    // Where this pixel comes from, and its value between the four pixels around that.
    const [from, at] = [middle - x * sin + y * cos, middle + x * cos + y * sin];
    const [r, c] = [Math.floor(from + 1e-9), Math.floor(at + 1e-9)];
    const [v, u] = [Math.max(from - r, 0), Math.max(at - c, 0)];
    const upper = (1 - u) * pixel(r, c) + (u ? u * pixel(r, c + 1) : 0);
    const lower = v ? (1 - u) * pixel(r + 1, c) + (u ? u * pixel(r + 1, c + 1) : 0) : 0;
    let value = ((1 - v) * upper + v * lower) / 255;
    value = Math.min(Math.max(0.5 + contrast * (value - 0.5), 0), 1);
    if (cover) {
      const inside = (place, start) => place >= start && place < start + cover.size;
      if (inside(row, cover.row) && inside(column, cover.column)) {
        if (noise) random();
        return (cover.shade - mean) / deviation;
      }
    }
    return (value - mean) / deviation + (noise ? noise * random() : 0);
  });
};

/** The accuracy on `images`, as they are and then altered with `changes` to the network: a generator of
 * what it has found so far. `sure` sums the probabilities of its answers, where wrong and right. */
lab.measure = function* (net, images, changes = [], settings = {}) {
  const found = { done: 0, before: 0, after: 0, lost: 0, gained: 0, answers: [], changed: [], sure: [0, 0] };
  net.answers ??= [];
  for (const [k, { bytes, label }] of images.entries()) {
    net.answers[k] ??= lab.answer(lab.run(net, lab.altered(bytes)).at(-1));
    const x = lab.altered(bytes, { ...settings, seed: k });
    const logits = lab.run(net, x, changes).at(-1);
    const now = lab.answer(logits);
    const [was, is] = [net.answers[k] === label, now === label];
    found.done += 1;
    found.before += was;
    found.after += is;
    found.lost += was && !is;
    found.gained += is && !was;
    found.answers.push(now);
    found.sure[Number(is)] += lab.softmax(logits)[now] ?? 0;
    if (now !== net.answers[k]) found.changed.push(k);
    yield found;
  }
};

/** Where the evidence is: the probability of a class when a square of a shade covers the image, for
 * a square around every second pixel. A generator, as `measure`; `map` has 14 rows of 14. */
lab.occlusion = function* (net, bytes, settings, changes, { size, shade }, label) {
  const found = { done: 0, map: new Float32Array(196) };
  for (let i = 0; i < 196; i += 1) {
    const [row, column] = [Math.floor(i / 14), i % 14].map((at) => 2 * at + 1 - Math.floor(size / 2));
    const x = lab.altered(bytes, { ...settings, cover: { row, column, size, shade } });
    found.map[i] = lab.softmax(lab.run(net, x, changes).at(-1))[label];
    found.done += 1;
    yield found;
  }
};

/** A photograph, of four bytes for each pixel, as an image of 28 by 28 bytes: if asked for, the largest
 * square in the middle; gray means; light made dark; the range stretched to 0 to 255. */
lab.photograph = (rgba, width, height, { square = true, invert = false, stretch = true }) => {
  const side = Math.min(width, height);
  const [left, across] = square ? [(width - side) / 2, side] : [0, width];
  const [top, down] = square ? [(height - side) / 2, side] : [0, height];
  /** What each of 28 pixels has of the lines from `start`, `length` of them: [line, share]. */
  const shares = (start, length) =>
    Array.from({ length: 28 }, (_, k) => {
      const [from, to] = [start + (k * length) / 28, start + ((k + 1) * length) / 28];
      const found = [];
      for (let line = Math.floor(from); line < to; line += 1) {
        found.push([line, (Math.min(line + 1, to) - Math.max(line, from)) / (to - from)]);
      }
      return found;
    });
  const [rows, columns] = [shares(top, down), shares(left, across)];
  const gray = Float64Array.from({ length: 784 }, (_, i) => {
    let sum = 0;
    for (const [row, high] of rows[Math.floor(i / 28)]) {
      for (const [column, wide] of columns[i % 28]) {
        const at = 4 * (row * width + column);
        sum += high * wide * (0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2]);
      }
    }
    return invert ? 255 - sum : sum;
  });
  const [least, most] = stretch ? [Math.min(...gray), Math.max(...gray)] : [0, 255];
  return Uint8Array.from(gray, (value) => Math.round((255 * (value - least)) / Math.max(most - least, 1)));
};

/** The standard deviation of an accuracy on so many images; and of the difference of two, when
 * some were lost and some gained. */
lab.deviation = (accuracy, count) => Math.sqrt((accuracy * (1 - accuracy)) / count);
lab.difference = (lost, gained, count) => Math.sqrt(lost + gained - (lost - gained) ** 2 / count) / count;

/* ---- What can be chosen and switched. ---- */

lab.words = {
  conv: "convolution",
  full: "fully connected layer",
  norm: "batch normalization",
  lrn: "local response normalization",
  relu: "ReLU",
  max: "max pooling",
  avg: "average pooling",
  mean: "global average pooling",
  add: "sum",
  cat: "concatenation",
};

/** What an operation is called: its kind, and where in its stage it is. */
lab.title = (op) => {
  const inner = op.path.split(".").slice(1).join(".");
  const kernel = op.kernel ? ` ${op.kernel.join("\u00d7")}` : "";
  return `${lab.words[op.kind]}${kernel}${inner ? ` (${inner})` : ""}`;
};

/** The stages of a network: operations one after the other whose modules have the same first name.
 * What the network itself does, without a module, belongs to the stage before. */
lab.stages = (net) => {
  const stages = [];
  for (const op of net.ops) {
    const name = op.path.split(".")[0];
    const last = stages.at(-1);
    if (last && (name === last.name || name === "")) last.ops.push(op);
    else stages.push({ name: name || "network", ops: [op] });
  }
  return stages;
};

/** What the input of a join is called: by the module in its block that made it. */
lab.branch = (net, op, input) => {
  const number = op.inputs[input];
  const path = number < 0 ? "" : net.ops[number].path;
  const start = op.path ? `${op.path}.` : "";
  if (number < 0 || !path.startsWith(start) || path === op.path) return "shortcut";
  if (!op.path) return `what ${path} makes`;
  const name = path.slice(start.length).split(".")[0];
  return { body: "residual branch" }[name] ?? (op.kind === "cat" ? `branch ${name}` : name);
};

/** The switches of a stage: what each is called, its kind, and the changes that it makes. */
lab.switches = (net, stage) => {
  const found = [];
  const add = (kind, text, change) => found.push({ kind, text, change });
  for (const op of stage.ops) {
    const where = op.path.split(".").slice(1).join(".");
    if (op.kind === "add" || op.kind === "cat") {
      op.inputs.forEach((_, input) => {
        const name = lab.branch(net, op, input);
        const kind = op.kind === "cat" ? "branch" : name === "shortcut" ? "shortcut" : "residual branch";
        const inner = stage.ops.filter((other) => other.kind === op.kind).length > 1 ? ` (${where})` : "";
        add(kind, name + inner, { op: op.index, drop: [input] });
      });
    }
    if (["norm", "lrn", "relu"].includes(op.kind)) {
      const kind = { norm: "batch normalization", lrn: "LRN", relu: "ReLU" }[op.kind];
      add(kind, `${kind}${where ? ` (${where})` : ""}`, { op: op.index, pass: op.inputs[0] });
    }
  }
  const [first, last] = [stage.ops[0], stage.ops.at(-1)];
  const given = first.given[0];
  const same = given.channels === last.channels && given.area === last.area;
  const inner = stage.ops.slice(1).every((op) => op.inputs.every((number) => number >= first.inputs[0]));
  if (same && inner && last.index < net.ops.length - 1) {
    add("stage", "the whole stage", { op: last.index, pass: first.inputs[0] });
  }
  return found;
};

/* ---- The state of the page as a text, for addresses. ---- */

/** What there is in a state: of each number its least, its largest, and what it is by default. */
lab.settings = {
  turn: [-180, 180, 0],
  right: [-14, 14, 0],
  down: [-14, 14, 0],
  contrast: [-1, 2, 1],
  noise: [0, 2, 0],
};

const CHANGES = { p: "pass", d: "drop", o: "off", k: "only" };

/** A state as a text, such as "net=resnet&image=3&noise=0.5&changes=9p2.12o4". A change is the
 * number of its operation, a letter, and what it is about. */
lab.write = (state) => {
  const parts = [`net=${encodeURIComponent(state.net)}`, `image=${state.image}`];
  for (const [name, [, , usual]] of Object.entries(lab.settings)) {
    if (state[name] !== usual) parts.push(`${name}=${state[name]}`);
  }
  if (state.cover) {
    const { row, column, size, shade } = state.cover;
    parts.push(`cover=${[row, column, size, shade].join("_")}`);
  }
  const changes = state.changes.flatMap((change) =>
    Object.entries(CHANGES)
      .filter(([, name]) => name in change)
      .flatMap(([letter, name]) => [change[name]].flat().map((number) => `${change.op}${letter}${number}`)),
  );
  if (changes.length) parts.push(`changes=${changes.join(".")}`);
  if (state.at) parts.push(`at=${state.at.join("_")}`);
  return parts.join("&");
};

/** The state that a text stands for, and the parts of it that are none. */
lab.parse = (text) => {
  const state = { net: "lenet", image: 0, changes: [], unknown: [] };
  for (const [name, [, , usual]] of Object.entries(lab.settings)) state[name] = usual;
  for (const part of text.split("&").filter(Boolean)) {
    const [name, value = ""] = part.split("=");
    const numbers = value.split("_").map(Number);
    if (name === "net" && value) state.net = decodeURIComponent(value);
    else if (name === "image" && /^\d+$/.test(value)) state.image = Number(value);
    else if (name in lab.settings && value !== "" && Number.isFinite(numbers[0])) {
      const [least, most] = lab.settings[name];
      state[name] = Math.min(Math.max(numbers[0], least), most);
    } else if (name === "cover" && numbers.length === 4 && numbers.every(Number.isFinite)) {
      const [row, column, size, shade] = numbers;
      state.cover = { row, column, size, shade };
    } else if (name === "at" && numbers.length === 4 && numbers.every(Number.isInteger)) state.at = numbers;
    else if (name === "changes") {
      for (const each of value.split(".")) {
        const [, op, letter, number] = /^(\d+)([pdok])(-?\d+)$/.exec(each) ?? [];
        if (!op) state.unknown.push(each);
        else lab.change(state.changes, Number(op), CHANGES[letter], Number(number), true);
      }
    } else state.unknown.push(part);
  }
  return state;
};

/** Make one change of an operation, or take it back. */
lab.change = (changes, op, name, number, on) => {
  let change = changes.find((each) => each.op === op && name in each);
  if (!change) {
    change = { op, [name]: name === "pass" ? number : [] };
    if (on) changes.push(change);
  }
  if (name !== "pass") {
    change[name] = change[name].filter((each) => each !== number);
    if (on) change[name].push(number);
  }
  if (!on && (name === "pass" || !change[name].length)) {
    if (changes.includes(change)) changes.splice(changes.indexOf(change), 1);
  }
};

/** Whether a change is made. */
lab.changed = (changes, op, name, number) =>
  changes.some((each) => each.op === op && name in each && [each[name]].flat().includes(number));

/** What of an operation is off, or on: channels of its output, or, with "drop", its inputs. */
lab.gone = (op, changes, name = "off", off = true) => {
  const here = changes.filter((change) => change.op === op.index);
  const isOff = (k) => here.some((change) => change[name]?.includes(k) || (name === "off" && change.only && !change.only.includes(k)));
  return [...Array(name === "off" ? op.channels : op.inputs.length).keys()].filter((k) => isOff(k) === off);
};

/** The changes with the other half of an operation off. */
lab.exchanged = (op, changes, name = "off") => {
  const others = lab.gone(op, changes, name, false);
  const rest = changes.filter((change) => change.op !== op.index || "pass" in change || "drop" in change !== (name === "drop"));
  return others.length ? [...rest, { op: op.index, [name]: others }] : rest;
};

/** Of each switch, off alone beside `changes`: the answer, and the probability of a class. */
lab.costs = (net, image, changes, label) => {
  const values = lab.run(net, image, changes);
  return lab.stages(net).flatMap((stage) =>
    lab.switches(net, stage).map(({ kind, text, change }) => {
      const logits = lab.run(net, image, [change, ...changes], change.op, values).at(-1);
      return { stage: stage.name, kind, text, change, answer: lab.answer(logits), share: lab.softmax(logits)[label] };
    }),
  );
};

/** Those of the changes that a network can make, and how many it cannot. */
lab.possible = (net, changes) => {
  const good = changes.filter((change) => {
    const op = net.ops[change.op];
    if (!op) return false;
    if ("pass" in change) {
      const other = change.pass < 0 ? net.image : net.ops[change.pass];
      return change.pass < change.op && other?.length === op.length;
    }
    if (change.drop) return change.drop.every((input) => input >= 0 && input < op.inputs.length);
    return (change.off ?? change.only).every((channel) => channel >= 0 && channel < op.channels);
  });
  return { good, bad: changes.length - good.length };
};

/** What is switched off, in words. */
lab.described = (net, change) => {
  const op = net.ops[change.op];
  const stage = lab.stages(net).find(({ ops }) => ops.includes(op)).name;
  if (change.drop) return change.drop.map((input) => `${stage}: ${lab.branch(net, op, input)}`);
  if (change.off) return [`${stage}, ${lab.title(op)}: map ${change.off.join(", ")}`];
  if (change.only) return [`${stage}, ${lab.title(op)}: all maps but ${change.only.join(", ")}`];
  const alone = op.inputs[0] === change.pass && ["norm", "lrn", "relu"].includes(op.kind);
  return [alone ? `${stage}: ${lab.title(op)}` : `${stage}: the whole stage`];
};
