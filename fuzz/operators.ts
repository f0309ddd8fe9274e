/**
 * Nodes of every operator of the `lacuna` domain with changes, through ONNX Runtime. If the library is built for the
 * address and undefined-behaviour sanitizers (docs/native.md), that build is used.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Campaign, type CampaignOptions, type CampaignResult, deadlineOf, type Failure } from './campaign.ts';
import { built, repository } from './harness/paths.ts';
import { LIMITS, type Limits, supervise } from './harness/supervise.ts';
import { chooseCase } from './operators/case.ts';

export const operators: Campaign = { name: 'operators', run };

interface Build {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly limits: Limits;
}

async function run(options: CampaignOptions): Promise<CampaignResult> {
  const { seed, from = 0, cases = Number.POSITIVE_INFINITY, log, signal } = options;
  const build = findBuild();
  if (build === undefined) {
    log('left out: the native library is not built');
    return { cases: 0, failures: [] };
  }
  log(`the library in ${build.folder}`);
  const failures: Failure[] = [];
  const onFailure = (index: number, why: string) => {
    const { node, changes } = chooseCase(seed, index);
    const what = `${node.opType} (${changes.join(', ') || 'sound'}): ${why}`;
    log(`case ${index}: ${what}`);
    failures.push({ case: String(index), why: what });
  };
  const { folder, environment, limits } = build;
  const range = { from, cases, deadline: deadlineOf(options), jobs: availableParallelism(), signal, onFailure };
  const script = { script: built('operators/child.js'), args: [folder, String(seed)], limits };
  const done = await withEnvironment(environment, () => supervise({ ...range, ...script }));
  return { cases: done, failures };
}

function findBuild(): Build | undefined {
  const [sanitized, released] = ['address', 'release'].map((preset) => repository('native/build', preset, 'lib'));
  if (isBuilt(sanitized)) return { folder: sanitized, environment: sanitizerEnvironment(), limits: SANITIZED_LIMITS };
  return isBuilt(released) ? { folder: released, environment: {}, limits: LIMITS } : undefined;
}

function isBuilt(folder: string): boolean {
  return ['lacuna_node.node', 'liblacuna_ort.so'].every((name) => existsSync(join(folder, name)));
}

/** Additional memory for the sanitizers' records. */
const SANITIZED_LIMITS: Limits = { ...LIMITS, bytes: 2 * LIMITS.bytes };

/** A sanitizer must be loaded before the process that it watches, because Node itself is built without. */
function sanitizerEnvironment(): Build['environment'] {
  const libraries = ['libasan.so', 'libubsan.so'].map((name) =>
    execFileSync('c++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
  );
  return {
    LD_PRELOAD: libraries.join(':'),
    ASAN_OPTIONS:
      'detect_leaks=0:alloc_dealloc_mismatch=0:allocator_may_return_null=1:malloc_context_size=2:quarantine_size_mb=4:exitcode=99',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  };
}

/** Runs `action`. Its processes get `variables` in addition to those of this process. */
async function withEnvironment<T>(variables: Build['environment'], action: () => Promise<T>): Promise<T> {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  try {
    return await action();
  } finally {
    for (const name of Object.keys(variables)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}
