// Makes the site of the documentation: npm run docs
//
// The pages are the Markdown files of the repository as they are, and the API from the doc comments of the public door.
// The result is in site/dist, for any static host: npx --prefix site vitepress preview site
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const site = import.meta.dirname;
const root = dirname(site);
const pages = join(site, 'pages');
// The pages in the order of the sidebar. A new one is a line there.
const { groups, assets } = JSON.parse(readFileSync(join(site, 'pages.json'), 'utf8'));
const files = groups.flatMap((group) => group.pages.map(({ file }) => file));
const known = new Set([...files, ...assets]);

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: site, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/** The README is the first page of the site. Links to files that are no pages become their words. */
function copyPage(file) {
  const text = readFileSync(join(root, file), 'utf8');
  const linked = text.replaceAll(/\[([^\]]+)\]\(([^():#]+\.\w+)(#[^)]*)?\)/g, (_, words, path, anchor = '') => {
    const target = join(dirname(file), path);
    if (!known.has(target)) return words;
    return `[${words}](./${target === 'README.md' ? path.replace(target, 'index.md') : path}${anchor})`;
  });
  const page = join(pages, file === 'README.md' ? 'index.md' : file);
  mkdirSync(dirname(page), { recursive: true });
  writeFileSync(page, linked);
}

if (!existsSync(join(site, 'node_modules'))) run('npm', 'ci', '--no-audit', '--no-fund');
rmSync(pages, { recursive: true, force: true });
for (const file of files) copyPage(file);
for (const file of assets) cpSync(join(root, file), join(pages, file));
run('npx', 'typedoc', '--options', join(site, 'typedoc.json'));
run('npx', 'vitepress', 'build', site);
