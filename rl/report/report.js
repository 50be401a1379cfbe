"use strict";
// The list of problems: filtered here, a page at a time, each problem's attempts put together when it is opened. What a model wrote
// reaches the page through textContent alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100;
  const KINDS = { ic: "wrong → right", ci: "right → wrong", cc: "always right", ii: "never right", o: "right between", x: "no verdict" };
  const [kind, which, text, count, list, more] = ["kind", "which", "text", "count", "list", "more"].map((id) => document.getElementById(id));

  const element = (tag, className, content) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  };

  // A problem's further samples share the text and the tests of its first.
  const firsts = new Map();
  for (const row of data.rows) {
    const key = row.e + " " + row.id;
    if (!row.s) firsts.set(key, row);
    else if (firsts.has(key)) Object.assign(row, { text: firsts.get(key).text, tests: firsts.get(key).tests });
    row.words = [row.id, row.text, ...row.turns.flatMap((turn) => [turn.code, turn.status, ...turn.errors])].join("\n").toLowerCase();
  }
  const severalSamples = data.rows.some((row) => row.s);
  data.names.forEach((name, i) => which.append(new Option(name, i)));
  if (data.names.length < 2) document.getElementById("which-label").hidden = true;

  const lines = (code) => code.split("\n");
  const line = (kind, content) => element("span", "row " + kind, content);

  // Both sides have as many rows, so that what belongs together stands side by side.
  const sides = (before, after, ranges) => {
    const [left, right] = [[], []];
    for (const [tag, i1, i2, j1, j2] of ranges) {
      const [was, is] = [before.slice(i1, i2), after.slice(j1, j2)];
      const kinds = tag === "e" ? ["same", "same"] : ["del", "add"];
      left.push(...was.map((content) => line(kinds[0], content)));
      right.push(...is.map((content) => line(kinds[1], content)));
      while (left.length < right.length) left.push(line("gap", ""));
      while (right.length < left.length) right.push(line("gap", ""));
    }
    return [left, right];
  };

  const program = (turn, number, rows) => {
    const side = element("div", "side");
    const head = element("div", "head");
    head.append(element("strong", "", "Turn " + number));
    head.append(element("span", "tag " + (turn.status === "passed" ? "passed" : "bad"), turn.status));
    head.append(element("span", "", `${turn.passed} of ${turn.total} tests, ${turn.tokens} tokens, ended by ${turn.finish}`));
    const pre = element("pre");
    pre.tabIndex = 0; // long lines scroll, with the keyboard too
    const inner = element("span", "rows");
    inner.append(...rows);
    pre.append(inner);
    side.append(head, pre);
    if (turn.errors.length) {
      const errors = element("ul", "errors");
      errors.append(...turn.errors.map((error) => element("li", "", error)));
      side.append(errors);
    }
    return side;
  };

  const body = (row) => {
    const made = element("div", "body");
    if (data.names.length > 1) made.append(element("h3", "", data.names[row.e]));
    if (row.tests.length) {
      const tests = element("pre");
      const inner = element("span", "rows");
      inner.append(...row.tests.flatMap(lines).map((test) => line("", test)));
      tests.append(inner);
      tests.tabIndex = 0;
      made.append(element("h3", "", "Tests"), tests);
    }
    if (row.turns.length === 1) {
      const one = element("div", "diff one");
      one.append(program(row.turns[0], 1, lines(row.turns[0].code).map((content) => line("", content))));
      made.append(one);
    }
    row.diffs.forEach((ranges, t) => {
      const [before, after] = [row.turns[t], row.turns[t + 1]];
      const [left, right] = sides(lines(before.code), lines(after.code), ranges);
      const diff = element("div", "diff");
      diff.append(program(before, t + 1, left), program(after, t + 2, right));
      made.append(diff);
    });
    return made;
  };

  const entry = (row) => {
    const made = element("details");
    const head = element("summary");
    const name = severalSamples ? `${row.id} #${row.s + 1}` : row.id;
    head.append(element("span", "tag " + row.kind, KINDS[row.kind]), element("span", "id", name), element("span", "task", row.text));
    if (data.names.length > 1) head.title = data.names[row.e];
    made.append(head);
    made.addEventListener("toggle", () => {
      if (made.open && made.children.length === 1) made.append(body(row));
    });
    return made;
  };

  let found = [];
  let shown = 0;
  const showMore = () => {
    list.append(...found.slice(shown, shown + PAGE).map(entry));
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown === found.length;
    more.textContent = `Show more (${found.length - shown} left)`;
  };
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const isKind = (row) => !kind.value || row.kind === kind.value || (kind.value === "other" && (row.kind === "o" || row.kind === "x"));
    found = data.rows.filter(
      (row) => isKind(row) && (!which.value || row.e === Number(which.value)) && words.every((word) => row.words.includes(word)),
    );
    count.textContent = `${found.length} of ${data.rows.length}`;
    list.replaceChildren();
    shown = 0;
    showMore();
    if (!found.length) list.append(element("p", "empty", "Nothing matches. Choose another transition or clear the text."));
  };
  for (const control of [kind, which]) control.addEventListener("change", filter);
  text.addEventListener("input", filter);
  more.addEventListener("click", showMore);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
