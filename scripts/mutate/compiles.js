// Whether a mutant passes the compiler, as `npm test` requires too, in a copy of the sources.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** A copy that is made on first use and removed with the process. */
export function createCompiler(root) {
  let copy;
  return ({ file, start, end, text }) => {
    copy ??= copyOf(root);
    const code = readFileSync(join(root, file), 'utf8');
    writeFileSync(join(copy, file), code.slice(0, start) + text + code.slice(end));
    const { status } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '--noEmit'], { cwd: copy });
    writeFileSync(join(copy, file), code);
    return status === 0;
  };
}

function copyOf(root) {
  const copy = mkdtempSync(join(tmpdir(), 'lacuna-mutate-'));
  process.on('exit', () => rmSync(copy, { recursive: true }));
  const sources = execFileSync('git', ['ls-files', '*.ts', '*.json'], { cwd: root, encoding: 'utf8' }).trim();
  for (const file of sources.split('\n')) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'junction');
  return copy;
}
