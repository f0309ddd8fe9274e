/** ONNX Runtime's own lines stay out of the terminal: what they say arrives as an error. */
import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { bundle } from './bundle.ts';
import { root, temporaryFolder } from './temporary.ts';

const folder = temporaryFolder();

it('nothing is printed when a model fails', async () => {
  const program = await bundle('test/failing-graph.ts', folder);
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const { stdout, stderr, status } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
  expect({ stdout, stderr, status }).toEqual({ stdout: 'runtime runtime', stderr: '', status: 0 });
});
