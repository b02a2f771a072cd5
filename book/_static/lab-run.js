/* Runs the programs that course_lib/lab makes of networks, and knows of no page: tests/test_lab.py compares
 * it with PyTorch. */
"use strict";

const lab = { programs: {} };

lab.add = (program) => {
  lab.programs[program.name] = program;
};

lab.count = (many) => [...Array(many).keys()];

lab.decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** Weights of 8 bits from a text: see course_lib/lab/weights.py. */
lab.signed = (text) => {
  const numbers = new Int8Array(text.length);
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    const place = code < 0xc0 ? code - 0x20 - (code > 0x22) - (code > 0x5c) : code - 0xc0 + 93;
    numbers[i] = place % 2 ? -(place + 1) / 2 : place / 2;
  }
  return numbers;
};

/** A program made ready to run, or a RangeError. (Sizes that are whole for sure, `| 0`, are faster.) */
lab.open = (program) => {
  if (typeof program.weights !== "string") {
    throw new RangeError("its weights are written in an older form: export it again");
  }
  const floats = new Float32Array(lab.decode(program.floats).buffer);
  const whole = lab.signed(program.weights);
  const sized = ([channels, rows = 1, columns = 1]) => {
    const area = (rows * columns) | 0;
    return { channels, rows, columns, area, length: (channels * area) | 0 };
  };
  const image = sized(program.input);
  const ops = [];
  for (const [index, op] of program.ops.entries()) {
    if (!(op.kind in lab.operations)) throw new RangeError(`there is no operation ${op.kind}`);
    if (op.inputs.some((number) => number < -1 || number >= index)) {
      throw new RangeError(`operation ${index} reads what is not there yet`);
    }
    const made = { ...op, ...sized(op.shape), index };
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
  return { ...program, ops, image };
};

/** y[o, i] = b[o] + sum over j of w[o, j] x[i, j]: each number that is read is used several times. */
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

/** All windows, with zeros for the padding: "im2col". */
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

/** Pooling: `join` takes one number of a window after the other, `end` the result and their count. */
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

/** Each kind of operation writes into `y`. */
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

/** What all operations make of an image. Each of `changes` is of one operation `op`: the output of another,
 * `pass`, takes the place of its own; the inputs `drop` are zero; the channels `off`, or all but `only`, are.
 * What is before the operation `from` is taken from another run. */
lab.run = (net, image, changes = [], from = 0, values = []) => {
  const made = values.slice(0, from);
  const value = (number) => (number < 0 ? image : made[number]);
  for (const op of net.ops.slice(from)) {
    const passed = lab.passed(op, changes);
    const dropped = lab.gone(op, changes, "drop");
    const y = new Float32Array(op.length);
    if (passed) y.set(value(passed.pass));
    else {
      const given = op.inputs.map((number, index) =>
        dropped.includes(index) ? new Float32Array(op.given[index].length) : value(number),
      );
      lab.operations[op.kind](op, y, given);
    }
    for (const c of lab.gone(op, changes)) y.fill(0, c * op.area, (c + 1) * op.area);
    made.push(y);
  }
  return made;
};

lab.softmax = (logits) => {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
};

/** The class; -1 if the logits are no numbers any more. */
lab.answer = (logits) => {
  if (logits.some(Number.isNaN)) return -1;
  return logits.indexOf(Math.max(...logits));
};

/** What a value depends on, with `changes`: of each operation, and of the image, -1, the first and last row,
 * the first and last column, and the maps. Without a `map`, the value is of any. */
lab.sources = (net, index, row, column, changes = [], map) => {
  const maps = map === undefined ? lab.count(net.ops[index].channels) : [map];
  const found = new Map([[index, { spans: [[row, row], [column, column]], maps }]]);
  for (let i = index; i >= 0; i -= 1) {
    if (!found.has(i)) continue;
    const op = net.ops[i];
    const passed = lab.passed(op, changes);
    const [gone, dropped] = ["off", "drop"].map((name) => lab.gone(op, changes, name));
    const maps = found.get(i).maps.filter((c) => !gone.includes(c));
    let { spans } = found.get(i);
    if (passed || !maps.length) found.delete(i);
    if (!maps.length) continue;
    if (op.kernel && !passed) {
      spans = spans.map((span, k) => {
        const [first, last] = span.map((at) => at * op.stride[k] - op.padding[k]);
        return [first, last + op.kernel[k] - 1];
      });
    }
    let start = 0; // in a concatenation
    for (const [input, number] of (passed ? [passed.pass] : op.inputs).entries()) {
      const { channels, rows, columns, area } = number < 0 ? net.image : net.ops[number];
      let its = maps;
      if (op.kind === "cat" && !passed) its = maps.map((c) => c - start).filter((c) => c >= 0 && c < channels);
      else if (channels !== op.channels || (!passed && (op.w || op.kind === "lrn"))) its = lab.count(channels);
      start += channels;
      if (!its.length || dropped.includes(input)) continue;
      const old = found.get(number);
      const reach = ([first, last], k) => {
        const [f, l] = old?.spans[k] ?? [Infinity, 0];
        // Where maps become a list, its values may be anywhere.
        if (area !== op.area && !op.kernel) [first, last] = [0, Infinity];
        return [Math.max(Math.min(f, first), 0), Math.min(Math.max(l, last), [rows, columns][k] - 1)];
      };
      found.set(number, { spans: spans.map(reach), maps: old ? [...new Set([...old.maps, ...its])] : its });
    }
  }
  return found;
};

/** Those pixels, if any. */
lab.field = (...value) => lab.sources(...value).get(-1)?.spans.flat();

/** How a convolution comes to one value: of each input map window, kernel, products and sum; and a bias. */
lab.terms = (net, values, image, index, channel, row, column) => {
  const op = net.ops[index];
  const [input] = op.given;
  const x = op.inputs[0] < 0 ? image : values[op.inputs[0]];
  const [high, wide] = op.kernel;
  const inputs = lab.count(input.channels).map((c) => {
    const grid = (cell) => lab.count(high).map((u) => lab.count(wide).map((v) => cell(u, v)));
    const window = grid((u, v) => {
      const [r, s] = [row * op.stride[0] + u - op.padding[0], column * op.stride[1] + v - op.padding[1]];
      const inside = r >= 0 && r < input.rows && s >= 0 && s < input.columns;
      return inside ? x[(c * input.rows + r) * input.columns + s] : 0;
    });
    const kernel = grid((u, v) => op.w[channel * op.size + (c * high + u) * wide + v]);
    const products = grid((u, v) => window[u][v] * kernel[u][v]);
    return { window, kernel, products, sum: products.flat().reduce((sum, each) => sum + each) };
  });
  return { inputs, bias: op.b[channel] };
};

/* ---- The images. ---- */

/** Images from a text: bytes, each zero followed by how many more. */
lab.images = (text, size) => {
  const [bytes, all] = [lab.decode(text), []];
  for (let i = 0; i < bytes.length; i += 1) {
    all.push(bytes[i]);
    if (bytes[i] === 0) {
      for (let more = bytes[i + 1]; more > 0; more -= 1) all.push(0);
      i += 1;
    }
  }
  return lab.count(all.length / size).map((k) => Uint8Array.from(all.slice(k * size, (k + 1) * size)));
};

/** Mean and standard deviation of the training images. */
lab.normalization = [0.2858, 0.3529];

/** Random numbers of a standard normal distribution. */
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

/** An image as networks read it: turned clockwise, in degrees; shifted; contrast around gray; noise, in
 * standard deviations; then a square. */
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
    // Where this pixel comes from, between four.
    const [from, at] = [middle - x * sin + y * cos, middle + x * cos + y * sin];
    const [r, c] = [Math.floor(from + 1e-9), Math.floor(at + 1e-9)];
    const [v, u] = [Math.max(from - r, 0), Math.max(at - c, 0)];
    const line = (y) => (1 - u) * pixel(y, c) + u * pixel(y, c + 1);
    const gray = ((1 - v) * line(r) + v * line(r + 1)) / 255;
    const value = Math.min(Math.max(0.5 + contrast * (gray - 0.5), 0), 1);
    const added = noise && noise * random();
    const inside = (place, start) => place >= start && place < start + cover.size;
    if (cover && inside(row, cover.row) && inside(column, cover.column)) return (cover.shade - mean) / deviation;
    return (value - mean) / deviation + added;
  });
};

/** Right answers on images as they are, and then altered, with `changes`. `sure` sums the probabilities of
 * answers, wrong and right. */
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

/** The probability of a class with a square around every second pixel in turn. */
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

/** A photograph as an image of 28 by 28 bytes. */
lab.photograph = (rgba, width, height, { square = true, invert = false, stretch = true }) => {
  /** What each of 28 pixels has of the lines: [line, share]. */
  const shares = (lines) => {
    const length = square ? Math.min(width, height) : lines;
    return lab.count(28).map((k) => {
      const [from, to] = [k, k + 1].map((edge) => (lines - length) / 2 + (edge * length) / 28);
      const found = [];
      for (let line = Math.floor(from); line < to; line += 1) {
        found.push([line, (Math.min(line + 1, to) - Math.max(line, from)) / (to - from)]);
      }
      return found;
    });
  };
  const [rows, columns] = [height, width].map(shares);
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

/** A drawing of the shades 0, 119 and 238 as a text: a digit for three pixels, a large letter for some digits
 * of zero. Undefined for other images. */
lab.packed = (pixels) => {
  if (pixels.some((value) => value % 119)) return undefined;
  let text = "";
  for (let i = 0; i < 784; i += 3) {
    const [a, b = 0, c = 0] = pixels.slice(i, i + 3);
    text += ((a + 3 * b + 9 * c) / 119).toString(36);
  }
  return text.replace(/0{1,26}/g, (run) => String.fromCharCode(64 + run.length));
};

/** The drawing of such a text. */
lab.unpacked = (text) => {
  const digits = text.replace(/[A-Z]/g, (run) => "0".repeat(run.charCodeAt() - 64));
  if (!/^[0-9a-q]{262}$/.test(digits)) return undefined;
  const three = (digit) => [1, 3, 9].map((power) => 119 * (Math.floor(parseInt(digit, 36) / power) % 3));
  return Uint8Array.from([...digits].flatMap(three).slice(0, 784));
};

/** Standard deviations of an accuracy, and of the difference of two. */
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

/** Where in its stage an operation is. */
lab.inner = ({ path }) => path.replace(/^[^.]*\.?/, " (").concat(")").replace(" ()", "");
lab.title = (op) => lab.words[op.kind] + (op.kernel ? ` ${op.kernel.join("\u00d7")}` : "") + lab.inner(op);

/** Stages: operations whose modules have the same first name, and those after them without a module. */
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

/** The name of a join's input. */
lab.branch = (net, op, input) => {
  const path = net.ops[op.inputs[input]]?.path;
  const start = op.path && `${op.path}.`;
  if (path === op.path || !path?.startsWith(start)) return "shortcut";
  if (!op.path) return `what ${path} makes`;
  const name = path.slice(start.length).split(".")[0];
  return name === "body" ? "residual branch" : op.kind === "cat" ? `branch ${name}` : name;
};

/** The switches of a stage, with the change that each makes, and its `parts` for `lab.change`. */
lab.switches = (net, stage) => {
  const found = [];
  const add = (kind, text, { index: op }, name, number) => {
    const change = { op, [name]: name === "pass" ? number : [number] };
    found.push({ kind, text, change, parts: [op, name, number] });
  };
  for (const op of stage.ops) {
    const where = lab.inner(op);
    if (op.kind === "add" || op.kind === "cat") {
      op.inputs.forEach((_, input) => {
        const name = lab.branch(net, op, input);
        const kind = op.kind === "cat" ? "branch" : name === "shortcut" ? "shortcut" : "residual branch";
        const inner = stage.ops.filter((other) => other.kind === op.kind).length > 1 ? where : "";
        add(kind, name + inner, op, "drop", input);
      });
    }
    if (["norm", "lrn", "relu"].includes(op.kind)) {
      const kind = op.kind === "lrn" ? "LRN" : lab.words[op.kind];
      add(kind, kind + where, op, "pass", op.inputs[0]);
    }
  }
  const [first, last] = [stage.ops[0], stage.ops.at(-1)];
  const given = first.given[0];
  const same = given.channels === last.channels && given.area === last.area;
  const inner = stage.ops.slice(1).every((op) => op.inputs.every((number) => number >= first.inputs[0]));
  if (same && inner && last.index < net.ops.length - 1) add("stage", "the whole stage", last, "pass", first.inputs[0]);
  return found;
};

/* ---- The state of the page. ---- */

/** Of each number the least, the largest, and the usual. */
lab.settings = {
  turn: [-180, 180, 0],
  right: [-14, 14, 0],
  down: [-14, 14, 0],
  contrast: [-1, 2, 1],
  noise: [0, 2, 0],
};

const COVER = ["row", "column", "size", "shade"];
const CHANGES = { p: "pass", d: "drop", o: "off", k: "only" };

/** A state as a text, such as "net=resnet&image=3&changes=9p2.12o4". */
lab.write = (state) => {
  const parts = [`net=${encodeURIComponent(state.net)}`, `image=${state.image}`];
  if (state.own) parts.push(`own=${state.own}`);
  for (const [name, [, , usual]] of Object.entries(lab.settings)) {
    if (state[name] !== usual) parts.push(`${name}=${state[name]}`);
  }
  if (state.cover) parts.push(`cover=${COVER.map((name) => state.cover[name]).join("_")}`);
  const changes = state.changes.flatMap((change) =>
    Object.entries(CHANGES)
      .filter(([, name]) => name in change)
      .flatMap(([letter, name]) => [change[name]].flat().map((number) => `${change.op}${letter}${number}`)),
  );
  if (changes.length) parts.push(`changes=${changes.join(".")}`);
  if (state.at) parts.push(`at=${state.at.join("_")}`);
  return parts.join("&");
};

/** The state of a text, and what is `unknown` of it. */
lab.parse = (text) => {
  const state = { net: "lenet", image: 0, changes: [], unknown: [] };
  for (const [name, [, , usual]] of Object.entries(lab.settings)) state[name] = usual;
  for (const part of text.split("&").filter(Boolean)) {
    const [name, value = ""] = part.split("=");
    const numbers = value.split("_").map(Number);
    if (name === "net" && value) state.net = decodeURIComponent(value);
    else if (name === "image" && /^\d+$/.test(value)) state.image = Number(value);
    else if (name === "own" && lab.unpacked(value)) state.own = value;
    else if (name in lab.settings && value !== "" && Number.isFinite(numbers[0])) {
      const [least, most] = lab.settings[name];
      state[name] = Math.min(Math.max(numbers[0], least), most);
    } else if (name === "cover" && numbers.length === 4 && numbers.every(Number.isFinite)) {
      state.cover = Object.fromEntries(COVER.map((each, k) => [each, numbers[k]]));
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

/** Makes a change, or takes it back. */
lab.change = (changes, op, name, number, on) => {
  const at = changes.findIndex((each) => each.op === op && name in each);
  const numbers = [changes[at]?.[name] ?? []].flat().filter((each) => each !== number);
  if (on) numbers.push(number);
  const made = numbers.length ? [{ op, [name]: name === "pass" ? number : numbers }] : [];
  changes.splice(at < 0 ? changes.length : at, 1, ...made);
};

lab.changed = (changes, op, name, number) =>
  changes.some((each) => each.op === op && name in each && [each[name]].flat().includes(number));

lab.passed = (op, changes) => changes.find((change) => change.op === op.index && "pass" in change);

/** What of an operation is off, or on: channels, or, with "drop", inputs. */
lab.gone = (op, changes, name = "off", off = true) => {
  const here = changes.filter((change) => change.op === op.index);
  const isOff = (k) => here.some((change) => change[name]?.includes(k) || (name === "off" && change.only && !change.only.includes(k)));
  return lab.count(name === "off" ? op.channels : op.inputs.length).filter((k) => isOff(k) === off);
};

/** Off on, and on off. */
lab.exchanged = (op, changes, name = "off") => {
  const others = lab.gone(op, changes, name, false);
  const rest = changes.filter((change) => change.op !== op.index || "pass" in change || "drop" in change !== (name === "drop"));
  return others.length ? [...rest, { op: op.index, [name]: others }] : rest;
};

/** Answer and probability of a class with each switch off alone. */
lab.costs = (net, image, changes, label) => {
  const values = lab.run(net, image, changes);
  return lab.stages(net).flatMap((stage) =>
    lab.switches(net, stage).map((each) => {
      const logits = lab.run(net, image, [each.change, ...changes], each.change.op, values).at(-1);
      return { ...each, stage: stage.name, answer: lab.answer(logits), share: lab.softmax(logits)[label] };
    }),
  );
};

/** The changes that a network can make, and how many it cannot. */
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

lab.described = (net, change) => {
  const op = net.ops[change.op];
  const stage = lab.stages(net).find(({ ops }) => ops.includes(op)).name;
  if (change.drop) return change.drop.map((input) => `${stage}: ${lab.branch(net, op, input)}`);
  if (change.off) return [`${stage}, ${lab.title(op)}: map ${change.off.join(", ")}`];
  if (change.only) return [`${stage}, ${lab.title(op)}: all maps but ${change.only.join(", ")}`];
  const alone = op.inputs[0] === change.pass && ["norm", "lrn", "relu"].includes(op.kind);
  return [alone ? `${stage}: ${lab.title(op)}` : `${stage}: the whole stage`];
};
