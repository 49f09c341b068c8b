// Read {texts, off, words} as JSON: texts in Markdown, rules of Harper that are off, words that are
// right. Print [[number of the text, rule, message, start, end]].
// The argument is the folder of the npm package harper.js.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";

const harper = resolve(process.argv[2], "dist");
const { LocalLinter, Dialect } = await import(`${harper}/index.js`);
// The other build of it does not find its file in a folder whose name has a space.
const { binaryInlined: binary } = await import(`${harper}/binaryInlined.js`);
const { texts, off, words } = JSON.parse(readFileSync(0, "utf8"));
const linter = new LocalLinter({ binary, dialect: Dialect.British });
const rules = await linter.getLintConfig();
const unknown = off.filter(rule => !(rule in rules));
if (unknown.length) throw new Error(`Harper has no rule ${unknown}`);
await linter.setLintConfig({
  ...rules,
  ...Object.fromEntries(off.map(rule => [rule, false])),
});
await linter.importWords(words);
const problems = [];
for (const [number, text] of texts.entries()) {
  const found = await linter.organizedLints(text, { language: "markdown" });
  for (const [rule, lints] of Object.entries(found)) {
    for (const lint of lints) {
      const { start, end } = lint.span();
      problems.push([number, rule, lint.message(), start, end]);
    }
  }
}
console.log(JSON.stringify(problems));
