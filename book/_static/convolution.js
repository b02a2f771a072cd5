/* A convolution to play with, in the chapter on convolution. What it opens with comes from
 * course_lib/pages/playground.py; tests/test_pages_playground.py compares what it computes with
 * PyTorch. */
"use strict";

/** The output channels of a convolutional layer without biases, for an image of channels,
 * rows and columns and weights of output channels, input channels, rows and columns.
 * `settings` has `stride`, `padding` and `dilation`. */
function convolution(x, weight, settings) {
  const [rows, columns] = convolution.sizes(x, weight, settings);
  const list = (length, each) => Array.from({ length }, (_, index) => each(index));
  return weight.map((kernels) =>
    list(rows, (i) =>
      list(columns, (j) =>
        convolution
          .terms(x, kernels, i, j, settings)
          .reduce((sum, { weight: w, value }) => sum + w * value, 0),
      ),
    ),
  );
}

/** How many positions a kernel of `k` has along `n` pixels; 0 if it does not fit. */
convolution.size = (n, k, { stride, padding, dilation }) =>
  Math.max(Math.floor((n + 2 * padding - dilation * (k - 1) - 1) / stride) + 1, 0);

convolution.sizes = ([channel], [[kernel]], settings) => [
  convolution.size(channel.length, kernel.length, settings),
  convolution.size(channel[0].length, kernel[0].length, settings),
];

/** The products whose sum is the output at (i, j): each weight, the pixel under it, and
 * where that is; it is 0 in the padding. */
convolution.terms = (x, kernels, i, j, { stride, padding, dilation }) =>
  kernels.flatMap((kernel, channel) =>
    kernel.flatMap((weights, u) =>
      weights.map((weight, v) => {
        const row = stride * i + dilation * u - padding;
        const column = stride * j + dilation * v - padding;
        return { channel, row, column, weight, value: x[channel][row]?.[column] ?? 0 };
      }),
    ),
  );

/** Put what readers can change in the place of the drawing in `container`. */
convolution.play = (container) => {
  const images = JSON.parse(container.dataset.images);
  const classics = JSON.parse(container.dataset.kernels);
  const names = Object.keys(classics);
  const CHANNELS = 3;

  const element = (name, attributes = {}, ...content) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...content);
    return made;
  };
  const write = (value) => String(Math.round(value * 100) / 100).replace("-", "\u2212");
  const copy = (kernel) => kernel.map((row) => [...row]);

  // A kernel for each pair of an output and an input channel; the first output channel has
  // the kernel that the drawing shows, the others the next ones.
  const first = names.indexOf(container.dataset.kernel);
  const kernels = Array.from({ length: CHANNELS }, (_, output) =>
    Array.from({ length: CHANNELS }, () => copy(classics[names[(first + output) % names.length]])),
  );
  const [row, column] = JSON.parse(container.dataset.at);
  const at = { row, column }; // the position of the window
  const edited = { output: 0, input: 0 }; // the kernel that the buttons set
  let seen = new Set(); // the positions whose outputs are shown
  let all = false; // or are all of them

  const select = (text, values, chosen) => {
    const options = values.map((value) =>
      element("option", value === chosen ? { value, selected: "" } : { value }, String(value)),
    );
    const control = element("select", {}, ...options);
    return [control, element("label", {}, element("span", {}, text), control)];
  };
  const [image, imageLabel] = select("Image", Object.keys(images), Object.keys(images)[0]);
  const [inputs, inputsLabel] = select("Input channels", [1, 2, 3], 1);
  const [outputs, outputsLabel] = select("Output channels", [1, 2, 3], 1);
  const [padding, paddingLabel] = select("Padding", [0, 1, 2], 0);
  const [stride, strideLabel] = select("Stride", [1, 2, 3], 1);
  const [dilation, dilationLabel] = select("Dilation", [1, 2, 3], 1);
  const [shown, shownLabel] = select("Kernels of output", [0, 1, 2], 0);
  const [chosen, chosenLabel] = select("Kernel of input", [0, 1, 2], 0);

  const layer = () => {
    const weight = kernels.slice(0, outputs.value).map((each) => each.slice(0, inputs.value));
    const x = images[image.value].slice(0, inputs.value);
    const settings = {};
    for (const [name, control] of Object.entries({ stride, padding, dilation })) {
      settings[name] = Number(control.value);
    }
    return { x, weight, settings, size: convolution.sizes(x, weight, settings) };
  };

  const button = (text, action) => {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", action);
    return made;
  };
  const what = element("span", {});
  const buttons = names.map((name) =>
    button(name, () => {
      kernels[edited.output][edited.input] = copy(classics[name]);
      draw();
    }),
  );
  const editors = element("div", { class: "kernels" });
  const window_ = element("div", {
    class: "window",
    tabindex: 0,
    role: "application",
    "aria-label": "The window on the input: move it with the arrow keys",
  });
  const made = element("div", { class: "outputs" });
  const product = element("div", { class: "product" });
  const status = element("p", { role: "status" });
  const facts = element("p", { class: "facts" });
  const fill = button("Fill the output", () => {
    all = true;
    show();
  });
  const clear = button("Empty it", () => {
    all = false;
    seen = new Set();
    show();
  });
  const play = button("Let it slide", () => (timer ? stop() : start()));

  let timer;
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "Let it slide";
  };
  const start = () => {
    [at.row, at.column, all, seen] = [0, 0, false, new Set()];
    play.textContent = "Stop";
    timer = setInterval(() => {
      const [rows, columns] = layer().size;
      at.column += 1;
      if (at.column >= columns) [at.row, at.column] = [at.row + 1, 0];
      if (at.row >= rows) stop();
      show();
    }, 400);
    show();
  };
  play.hidden = matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** A table of cells; `cell(i, j)` gives the text of one and its attributes. */
  const table = (caption, rows, columns, cell) => {
    const lines = Array.from({ length: rows }, (_, i) =>
      element("tr", {}, ...Array.from({ length: columns }, (_, j) => {
        const [text, attributes] = cell(i, j);
        return element("td", attributes, text);
      })),
    );
    return element("table", {}, element("caption", {}, caption), element("tbody", {}, ...lines));
  };

  const drawInput = ({ x, settings }, terms) => {
    const under = new Map();
    for (const { channel, row, column, weight } of terms) {
      under.set([channel, row, column].join(), weight);
    }
    const border = settings.padding;
    const largest = Math.max(...x.flat(2));
    const tables = x.map((channel, number) =>
      table(`Input channel ${number}`, channel.length + 2 * border, channel[0].length + 2 * border, (i, j) => {
        const [row, column] = [i - border, j - border];
        const value = channel[row]?.[column];
        const kinds = value === undefined ? ["padding"] : [];
        if (under.has([number, row, column].join())) kinds.push("under");
        const share = `--share: ${Math.round((30 * (value ?? 0)) / largest)}%`;
        return [write(value ?? 0), { class: kinds.join(" "), style: share, "data-at": `${row},${column}` }];
      }),
    );
    window_.replaceChildren(...tables);
  };

  const drawOutput = ({ x, weight, settings, size }) => {
    const tables = convolution(x, weight, settings).map((channel, number) => {
      const largest = Math.max(...channel.flat().map(Math.abs), 1e-9);
      return table(`Output channel ${number}`, ...size, (i, j) => {
        const here = i === at.row && j === at.column;
        if (!all && !seen.has(`${i},${j}`)) return ["", { "data-to": `${i},${j}` }];
        const value = channel[i][j];
        const share = `--share: ${Math.round((45 * Math.abs(value)) / largest)}%`;
        const kind = (value < 0 ? "negative" : "positive") + (here ? " here" : "");
        return [write(value), { class: kind, style: share, "data-to": `${i},${j}`, "data-value": value }];
      });
    });
    made.replaceChildren(...tables);
  };

  /** The products under the window, as numbers, for the output channel whose kernels are
   * shown. */
  const drawProduct = (terms, count) => {
    const sums = [];
    const sign = (value) => (value < 0 ? `(${write(value)})` : write(value));
    const lines = Array.from({ length: count }, (_, channel) => {
      const own = terms.filter((term) => term.channel === channel);
      sums.push(own.reduce((sum, { weight, value }) => sum + weight * value, 0));
      const text = own.map(({ weight, value }) => `${sign(weight)}\u00d7${write(value)}`).join(" + ");
      const name = count > 1 ? `channel ${channel}: ` : "";
      return element("p", {}, `${name}${text} = ${write(sums[channel])}`);
    });
    const total = sums.reduce((sum, each) => sum + each, 0);
    if (count > 1) lines.push(element("p", {}, `together: ${sums.map(sign).join(" + ")} = ${write(total)}`));
    product.replaceChildren(element("p", {}, `Weight \u00d7 pixel, for output channel ${edited.output}:`), ...lines);
    return total;
  };

  /** Everything that depends on where the window is. */
  const show = () => {
    const now = layer();
    const { x, weight, settings, size } = now;
    const fits = size[0] > 0;
    at.row = Math.max(Math.min(at.row, size[0] - 1), 0);
    at.column = Math.max(Math.min(at.column, size[1] - 1), 0);
    seen.add(`${at.row},${at.column}`);
    const terms = fits ? convolution.terms(x, weight[edited.output], at.row, at.column, settings) : [];
    drawInput(now, terms);
    drawOutput(now);
    for (const each of [fill, clear, play]) each.disabled = !fits;
    const [n, k, { stride: s, padding: p, dilation: d }] = [x[0].length, weight[0][0].length, settings];
    const sum = `(${n} + 2\u00b7${p} \u2212 ${d}\u00b7(${k} \u2212 1) \u2212 1) / ${s}`;
    if (!fits) {
      product.replaceChildren();
      facts.textContent = "";
      status.textContent = `The kernel spans ${d * (k - 1) + 1} pixels and does not fit into ${n + 2 * p}.`;
      return;
    }
    const total = drawProduct(terms, x.length);
    const count = k * k * x.length * weight.length;
    facts.textContent =
      `Side of the output: ${sum}, rounded down, + 1 = ${size[0]}. Weights: ${k}\u00b7${k}\u00b7${x.length}\u00b7` +
      `${weight.length} = ${count}. MACs: ${count}\u00b7${size[0]}\u00b7${size[1]} = ${count * size[0] * size[1]}.`;
    status.textContent = `Output channel ${edited.output}, row ${at.row}, column ${at.column}: ${write(total)}`;
  };

  /** The kernels of the chosen output channel, as fields. */
  const drawKernels = () => {
    const fields = kernels[edited.output].slice(0, inputs.value).map((kernel, input) => {
      const cells = kernel.flatMap((row, u) =>
        row.map((value, v) => {
          const title = `Weight of input channel ${input}, row ${u}, column ${v}`;
          const rounded = Math.round(value * 100) / 100;
          const cell = element("input", { type: "number", step: "any", value: rounded, "aria-label": title });
          cell.addEventListener("input", () => {
            kernel[u][v] = Number.isFinite(cell.valueAsNumber) ? cell.valueAsNumber : 0;
            show();
          });
          return cell;
        }),
      );
      const title = element("legend", {}, "w", element("sub", {}, `${edited.output},${input}`));
      const field = element("fieldset", {}, title, ...cells);
      field.addEventListener("pointerdown", () => {
        edited.input = input;
        name();
      });
      return field;
    });
    editors.replaceChildren(...fields);
    name();
  };
  const name = () => {
    chosen.value = edited.input;
    what.replaceChildren("Make w", element("sub", {}, `${edited.output},${edited.input}`), ":");
    editors.querySelectorAll("fieldset").forEach((each, input) => {
      each.classList.toggle("edited", input === edited.input && inputs.value > 1);
    });
  };
  const draw = () => {
    for (const [list, label, { value: count }] of [[shown, shownLabel, outputs], [chosen, chosenLabel, inputs]]) {
      label.hidden = count < 2;
      for (const option of list.options) option.hidden = option.disabled = option.value >= Number(count);
    }
    edited.output = Math.min(Number(shown.value), outputs.value - 1);
    edited.input = Math.min(edited.input, inputs.value - 1);
    shown.value = edited.output;
    drawKernels();
    show();
  };

  for (const control of [image, inputs, outputs, padding, stride, dilation]) {
    control.addEventListener("change", () => {
      stop();
      seen = new Set();
      draw();
    });
  }
  shown.addEventListener("change", draw);
  chosen.addEventListener("change", () => {
    edited.input = Number(chosen.value);
    name();
  });

  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [-99, -99], End: [99, 99] };
  window_.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    stop();
    at.row += move[0];
    at.column += move[1];
    show();
  });
  /** Move the window to the cell under the pointer: its middle on a pixel of the input, or
   * to the position of an output. */
  const point = (event) => {
    const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest("td");
    if (!cell || !container.contains(cell)) return;
    const { settings, weight } = layer();
    if (cell.dataset.to) [at.row, at.column] = cell.dataset.to.split(",").map(Number);
    else {
      const middle = (settings.dilation * (weight[0][0].length - 1)) / 2 - settings.padding;
      [at.row, at.column] = cell.dataset.at
        .split(",")
        .map((pixel) => Math.round((Number(pixel) - middle) / settings.stride));
    }
    stop();
    show();
  };
  for (const grids of [window_, made]) {
    grids.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      grids.setPointerCapture(event.pointerId);
      point(event);
    });
    grids.addEventListener("pointermove", (event) => {
      if (grids.hasPointerCapture(event.pointerId)) point(event);
    });
  }

  container.replaceChildren(
    element("div", { class: "controls" }, imageLabel, inputsLabel, outputsLabel, paddingLabel, strideLabel, dilationLabel),
    element("div", { class: "controls" }, shownLabel, chosenLabel, element("div", { class: "buttons" }, what, ...buttons)),
    element("div", { class: "grids" }, window_, editors, made),
    element("div", { class: "buttons" }, fill, clear, play),
    status,
    product,
    facts,
  );
  draw();
};

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".playground").forEach(convolution.play);
  });
}
