// Audit of a finished site, served on this machine: axe in both themes, html-validate, Lighthouse.
// usage: node audit.mjs SITE_FOLDER CHROMIUM
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";
import { HtmlValidate } from "html-validate";
import lighthouse from "lighthouse";

const [site, browserPath] = process.argv.slice(2);
const TYPES = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".webp": "image/webp", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".json": "application/json", ".txt": "text/plain; charset=utf-8" };
const FLOOR = { performance: 0.9, accessibility: 1, "best-practices": 0.95, seo: 0.9 };

const first = (folder, n) => {
  const deep = readdirSync(join(site, folder)).sort()[0];
  return readdirSync(join(site, folder, deep)).sort().slice(0, n).map((name) => `${folder}/${deep}/${name}`);
};
const letters = readdirSync(join(site, "words")).sort().slice(0, 1).map((name) => `words/${name}`);
const some = ["families.html", "concepts.html", "concepts/0.html", "family/0.html", "compare.html"].filter((name) => existsSync(join(site, name)));
const pages = ["index.html", "browse.html", "search.html?q=red", "map.html", "pictures.html", "report.html", "data.html", "about.html", "dead.html", "404.html", ...some, ...letters, ...first("feature", 8), ...first("image", 4)];

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)).replace(/^(\.\.[/\\])+/, "");
  try {
    const file = path === "/" ? "index.html" : path, body = readFileSync(join(site, file));
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    // Text goes compressed, as every free host sends it.
    if (/text|javascript|json|svg/.test(type)) response.writeHead(200, { "content-type": type, "content-encoding": "gzip" }).end(gzipSync(body));
    else response.writeHead(200, { "content-type": type }).end(body);
  } catch {
    response.writeHead(404).end("not here");
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const base = `http://127.0.0.1:${server.address().port}/`;
let bad = 0;

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DEBUGGING = 9222;
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox", `--remote-debugging-port=${DEBUGGING}`] });
for (const colorScheme of ["light", "dark"]) {
  const context = await browser.newContext({ bypassCSP: true, colorScheme });
  const page = await context.newPage();
  for (const path of pages) {
    await page.goto(base + path);
    await page.waitForLoadState("networkidle");
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    for (const violation of found.violations) {
      bad++;
      console.log(`axe ${colorScheme} ${path}: ${violation.id} (${violation.nodes.length}) ${violation.nodes[0].target} ${violation.nodes[0].failureSummary?.split("\n").at(-1)}`);
    }
  }
  await context.close();
}
console.log(`axe: ${pages.length} pages in two themes`);

const validate = new HtmlValidate({ extends: ["html-validate:recommended"], rules: { "no-inline-style": "error", "long-title": "off", "no-trailing-whitespace": "off", "void-style": "off", "require-sri": "off" } });
for (const path of pages) {
  const report = await validate.validateFile(join(site, path.split("?")[0]));
  for (const result of report.results) {
    for (const message of result.messages) {
      bad++;
      console.log(`html ${path}:${message.line} ${message.ruleId}: ${message.message}`);
    }
  }
}
console.log(`html-validate: ${pages.length} pages`);

for (const path of ["index.html", "browse.html", "map.html", first("feature", 1)[0], "report.html"]) {
  const { lhr } = await lighthouse(base + path, { port: DEBUGGING, logLevel: "error", onlyCategories: Object.keys(FLOOR) });
  const scores = Object.entries(lhr.categories).map(([name, category]) => [name, category.score]);
  console.log(`lighthouse ${path}: ${scores.map(([name, score]) => `${name} ${Math.round(100 * score)}`).join(", ")}`);
  for (const [name, score] of scores) {
    if (score === 1) continue;
    if (score < FLOOR[name]) bad++;
    const misses = Object.values(lhr.categories[name].auditRefs).filter((ref) => ref.weight && lhr.audits[ref.id].score < 0.9 && lhr.audits[ref.id].score !== null);
    console.log(`  ${name}${score < FLOOR[name] ? " TOO LOW" : ""}: ${misses.map((ref) => ref.id).join(", ")}`);
  }
}
await browser.close();
server.close();
console.log(bad ? `${bad} findings` : "no findings");
process.exitCode = bad ? 1 : 0;
