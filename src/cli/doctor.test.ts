import { copyFileSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeLib } from '../../test/native-lib.ts';
import { required } from '../../test/real/real-model.ts';
import { lacuna, temporaryFolder } from '../../test/temporary.ts';
import type { DoctorResult } from '../index.ts';
import { formatDoctor } from './doctor.ts';

const folder = temporaryFolder();

/** An ELF header of a 64-bit little-endian library for a machine, and nothing after it. */
function elf(machine: number): Buffer {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}

async function diagnose(library?: Buffer, addon?: string): Promise<DoctorResult> {
  const nativeFolder = mkdtempSync(join(folder, 'lib-'));
  if (addon !== undefined) copyFileSync(addon, join(nativeFolder, 'lacuna_node.node'));
  if (library !== undefined) writeFileSync(join(nativeFolder, 'liblacuna_ort.so'), library);
  const { code, stdout } = await lacuna(['doctor', '--json'], undefined, undefined, nativeFolder);
  expect(code).toBe(0);
  return JSON.parse(stdout) as DoctorResult;
}

describe.runIf(process.platform === 'linux')('lacuna doctor', () => {
  const [ours, other] = process.arch === 'x64' ? [62, 183] : [183, 62];

  it('names the runtime, and the library with why it is not used', async () => {
    const { runtime, problem, native, kernels } = await diagnose(elf(ours));
    expect(runtime.version).toMatch(/^1\.\d+\.\d+$/);
    expect(problem).toBeNull();
    expect(native.state).toBe('present');
    expect(kernels).toMatchObject({
      active: false,
      why: expect.stringMatching(/session for Node cannot be loaded: Cannot find module/),
    });
  });

  it.skipIf(!required && !existsSync(join(nativeLib, 'lacuna_node.node')))(
    'tries a kernel before it calls them active',
    async () => {
      const { stdout } = await lacuna(['doctor']);
      expect(stdout).toMatch(
        /\nkernels in this process: active, with (AVX3_DL|AVX2_VNNI|AVX2|SSE2|NEON_DOT|NEON): run and bench decode with them/,
      );
      // A library with a correct header and nothing else.
      const { native, kernels } = await diagnose(elf(ours), join(nativeLib, 'lacuna_node.node'));
      expect(native.state).toBe('present');
      expect(kernels).toMatchObject({
        active: false,
        why: expect.stringMatching(/^an operator cannot be run by its kernel: .*liblacuna_ort\.so/),
      });
    },
  );

  it('says what is wrong with a library that cannot be loaded', async () => {
    expect((await diagnose()).native).toMatchObject({ state: 'absent', why: expect.stringMatching(/build:native/) });
    const [built, here] = process.arch === 'x64' ? ['arm64', 'x64'] : ['x64', 'arm64'];
    expect((await diagnose(elf(other))).native).toMatchObject({
      state: 'unusable',
      why: `it is built for ${built}, and this is ${here}; install Lacuna again on this machine`,
    });
    // 64 bytes of header, and a table of three sections of 64 bytes each that would begin at 1000.
    const whole = elf(ours);
    whole.writeBigUInt64LE(1000n, 40);
    whole.writeUInt16LE(64, 58);
    whole.writeUInt16LE(3, 60);
    const cut = Buffer.concat([whole], 1191);
    expect((await diagnose(cut)).native).toMatchObject({
      state: 'unusable',
      why: expect.stringMatching(/^it is cut short: it has 1191 bytes of 1192; install/),
    });
    expect((await diagnose(Buffer.concat([whole], 1192))).native.state).toBe('present');
    expect((await diagnose(elf(243))).native).toMatchObject({ why: expect.stringMatching(/machine 243/) });
    expect((await diagnose(Buffer.from('text'))).native).toMatchObject({
      why: expect.stringMatching(/^it is not a shared library;/),
    });
  });

  it('prints a line for each', async () => {
    const { stdout } = await lacuna(['doctor'], undefined, undefined, folder);
    expect(stdout).toMatch(/^lacuna \S+, Node\.js v\S+, linux-/);
    expect(stdout).toMatch(/\nruntime: onnxruntime-node 1\.\S+; computes portable bodies correctly\n/);
    expect(stdout).toMatch(
      /\nnative library: absent: this installation has none for linux-\S+ \(in a clone,\s+npm run build/,
    );
    const result = await diagnose();
    const path = '/lib/liblacuna_ort.so';
    const lineOf = (madeFor: { target: string; needs: string; tested: string } | null) =>
      formatDoctor({ ...result, native: { state: 'present', path, madeFor } }).split('\n')[2];
    expect(lineOf(null)).toBe(`native library: ${path}, a local build`);
    const made = { target: 'linux-x64', needs: 'glibc 2.28', tested: 'by all tests' };
    expect(lineOf(made)).toBe(`native library: ${path}, for linux-x64 with glibc 2.28 or newer, tested by all tests`);
    const problem = { message: 'ONNX Runtime is gone', hint: 'Bring it back.' };
    expect(formatDoctor({ ...result, runtime: { name: 'onnxruntime-node', version: null }, problem })).toMatch(
      /runtime: onnxruntime-node \(not loaded\); ONNX Runtime is gone\n {2}Bring it back\.\n/,
    );
  });
});
