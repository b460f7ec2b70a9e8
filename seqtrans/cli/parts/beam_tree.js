// NODES and BEST are set by the script before this one.
const nodes = NODES, W = 104, H = 30, children = nodes.map(() => []);
nodes.forEach((n, i) => { if (n.parent >= 0) children[n.parent].push(i) });
const folded = new Set(), best = new Set(), chosen = new Set();
for (let i = BEST; i >= 0; i = nodes[i].parent) best.add(i);
children.forEach(list => list.sort((a, b) => best.has(b) - best.has(a)));
const make = (name, attributes, parent, text) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) e.setAttribute(key, attributes[key]);
  if (text !== undefined) e.textContent = text;
  return parent.appendChild(e);
};
const lineTo = i => { const line = []; for (; i >= 0; i = nodes[i].parent) line.unshift(i); return line };
const tell = i => {
  const n = nodes[i], line = lineTo(i).slice(1).map(j => nodes[j].token).join(" ");
  const p = Math.exp(n.log_prob - (n.parent < 0 ? 0 : nodes[n.parent].log_prob));
  document.getElementById("said").textContent = (line || "(beginning)")
    + "; log-probability " + n.log_prob.toFixed(3) + ", of the last token " + (100 * p).toFixed(1) + " %"
    + (n.score === null ? "" : "; ended with score " + n.score.toFixed(4) + ", rank " + n.rank);
};
function draw() {
  // A line of first continuations takes the first row that is free along it; later branches first.
  const place = {}, taken = []; let depth = 0;
  (function put(first, level, row) {
    const line = [first];
    for (let i = first; !folded.has(i) && children[i].length;) line.push(i = children[i][0]);
    const isFree = r => line.every((_, k) => !taken[r] || !taken[r].has(level + k));
    while (!isFree(row)) row++;
    taken[row] = taken[row] || new Set();
    line.forEach((i, k) => { place[i] = [level + k, row]; taken[row].add(level + k) });
    depth = Math.max(depth, level + line.length - 1);
    line.map((i, k) => [i, k]).reverse().forEach(([i, k]) => {
      if (!folded.has(i)) children[i].slice(1).forEach(c => put(c, level + k + 1, row + 1));
    });
  })(0, 0, 0);
  const box = document.getElementById("tree"); box.replaceChildren();
  const svg = make("svg", { width: (depth + 1) * W + 20, height: taken.length * H + 20 }, box);
  for (const key in place) {
    const i = +key, n = nodes[i], x = place[i][0] * W + 10, y = place[i][1] * H + 10;
    const kind = ["node", best.has(i) && "best", n.score !== null && "ended", folded.has(i) && "folded",
      chosen.has(i) && "path", n.score === null && !children[i].length && "left"];
    const g = make("g", { class: kind.filter(Boolean).join(" "), "data-node": i }, svg);
    if (n.parent >= 0) {
      const [px, py] = [place[n.parent][0] * W + W - 8, place[n.parent][1] * H + 22];
      make("path", { class: "link", d: `M${px},${py} C${px + 9},${py} ${x - 9},${y + 12} ${x},${y + 12}` }, g);
    }
    make("rect", { x, y, width: W - 18, height: 24, rx: 5 }, g);
    const shown = n.token.length > 11 ? n.token.slice(0, 10) + "\u2026" : n.token;
    make("text", { x: x + 6, y: y + 16 }, g, shown);
    make("title", {}, g, n.token);
    g.onmouseenter = () => tell(i);
    g.onclick = event => {
      if (event.shiftKey || !children[i].length) {
        chosen.clear(); lineTo(i).forEach(j => chosen.add(j));
      } else folded.has(i) ? folded.delete(i) : folded.add(i);
      draw(); tell(i);
    };
  }
}
draw(); tell(BEST);
