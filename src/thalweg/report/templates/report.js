"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text) => { document.getElementById("status").textContent = text; };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");

  function download(name, address) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  // Theme: the system's, until the reader chooses.
  const themeButton = document.getElementById("theme");
  let chosen = null;
  try { chosen = localStorage.getItem("thalweg-theme"); } catch { /* no storage for files */ }
  const scheme = () => chosen ?? (dark.matches ? "dark" : "light");

  function applyTheme() {
    document.documentElement.style.colorScheme = scheme();
    themeButton.setAttribute("aria-pressed", String(scheme() === "dark"));
  }
  themeButton.addEventListener("click", () => {
    chosen = scheme() === "dark" ? "light" : "dark";
    try { localStorage.setItem("thalweg-theme", chosen); } catch { /* no storage for files */ }
    applyTheme();
    redraw();
  });
  dark.addEventListener("change", () => { applyTheme(); redraw(); });
  applyTheme();

  // Charts.
  const figures = all(".chart");
  const views = new Map();
  const shown = new Set(report.contenders);
  let emphasis = "";

  const picked = (name) => document.querySelector(`input[name="${CSS.escape(name)}"]:checked`)?.value;

  function rows(columns) {
    const decoded = Object.entries(columns).map(([name, column]) =>
      [name, column.values ?? column.codes.map((code) => column.levels[code])]);
    return (decoded[0]?.[1] ?? []).map((_, i) =>
      Object.fromEntries(decoded.map(([name, values]) => [name, values[i]])));
  }

  function specification(figure) {
    const chart = report.charts[figure.id];
    const parameters = { shown: report.contenders.filter((name) => shown.has(name)), emphasis };
    const variant = [];
    for (const { name, first, parameter } of chart.switches) {
      const value = picked(`${figure.id}-${name}`) ?? first;
      if (parameter) parameters[name] = value;
      else variant.push(value);
    }
    const spec = chart.variants[variant.join("/")];
    const lane = picked("lane");
    const datasets = Object.entries(chart.data).map(([name, lanes]) =>
      [name, rows(lanes[lane] ?? Object.values(lanes)[0] ?? {})]);
    return {
      ...spec,
      params: spec.params.map((param) =>
        param.name in parameters ? { ...param, value: parameters[param.name] } : param),
      datasets: { ...spec.datasets, ...Object.fromEntries(datasets) },
    };
  }

  function embed(target, spec, theme) {
    // Expressions are interpreted, not compiled: the page forbids eval.
    return vegaEmbed(target, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false,
      tooltip: { disableDefaultStyle: true }, config: theme, logLevel: 1,
    });
  }

  async function draw(figure) {
    const theme = structuredClone(report.themes[scheme()]);
    if (narrow.matches) theme.axis.labelLimit = 96;
    const order = (figure.order = (figure.order ?? 0) + 1);
    const target = document.createElement("div");
    target.style.width = "100%";
    const canvas = figure.querySelector(".canvas");
    canvas.style.minHeight = `${canvas.offsetHeight}px`;
    const old = [...canvas.children];
    canvas.append(target);
    const result = await embed(target, specification(figure), theme);
    if (order !== figure.order) {
      result.finalize();
      target.remove();
      return;
    }
    views.get(figure)?.finalize();
    old.forEach((child) => child.remove());
    canvas.style.minHeight = "0";
    views.set(figure, result);
    figure.dataset.drawn = String(order);
  }

  function redraw() {
    views.forEach((_, figure) => draw(figure));
  }

  function signal(name, value) {
    views.forEach(({ view }) => view.signal(name, value).runAsync());
  }

  const nearing = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      nearing.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "500px" });
  figures.forEach((figure) => nearing.observe(figure));
  addEventListener("beforeprint", () => figures.forEach((figure) => views.has(figure) || draw(figure)));
  narrow.addEventListener("change", redraw);

  document.addEventListener("change", ({ target }) => {
    if (target.name === "lane") redraw();
    else if (target.closest(".chart")) draw(target.closest(".chart"));
  });

  all(".chip").forEach((chip) => {
    const contender = report.contenders[chip.dataset.contender];
    chip.addEventListener("click", () => {
      if (!shown.delete(contender)) shown.add(contender);
      chip.setAttribute("aria-pressed", String(shown.has(contender)));
      signal("shown", report.contenders.filter((name) => shown.has(name)));
    });
    const stress = (name) => () => { emphasis = shown.has(name) ? name : ""; signal("emphasis", emphasis); };
    chip.addEventListener("pointerenter", stress(contender));
    chip.addEventListener("focus", stress(contender));
    chip.addEventListener("pointerleave", stress(""));
    chip.addEventListener("blur", stress(""));
  });

  async function picture(figure, format) {
    const { title } = report.charts[figure.id];
    const spec = { ...specification(figure), width: 640, title };
    const { view, finalize } = await embed(document.createElement("div"), spec, report.themes.figure);
    download(`thalweg-${figure.id}.${format}`, await view.toImageURL(format, 2));
    finalize();
  }

  // Tables.
  const compareText = new Intl.Collator("en", { numeric: true }).compare;

  function sort(heading) {
    const table = heading.closest("table");
    const down = heading.ariaSort === "ascending";
    all("thead th", table).forEach((other) => { other.ariaSort = "none"; });
    heading.ariaSort = down ? "descending" : "ascending";
    const key = (row) => {
      const cell = row.cells[heading.cellIndex];
      const order = cell.dataset.order;
      return order === undefined ? cell.textContent : order === "" ? NaN : Number(order);
    };
    const compare = (a, b) => {
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      const order = typeof a === "string" ? compareText(a, b) : a - b || 0;
      return down ? -order : order;
    };
    for (const body of all("tbody:not(.heading)", table)) {
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    }
    say(`sorted by ${heading.textContent}, ${heading.ariaSort}`);
  }

  async function copy(button) {
    const code = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Press Ctrl+C";
    }
    say(button.textContent);
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  }

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { csv, picture: format } = button.dataset;
    if (button.closest("thead")) sort(button.closest("th"));
    else if (csv) {
      const file = new Blob([report.files[csv]], { type: "text/csv;charset=utf-8" });
      download(`thalweg-${csv}.csv`, URL.createObjectURL(file));
    } else if (format) picture(button.closest(".chart"), format);
    else if (button.dataset.copy) copy(button);
  });
})();
