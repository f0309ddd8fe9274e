/**
 * Nodes of every operator of the `lacuna` domain with changes, through ONNX Runtime. If the library is built for the
 * address and undefined-behaviour sanitizers (docs/native.md), that build is used.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nativePath } from '../src/pipeline/engine/native-library.ts';
import type { Campaign, CampaignOptions, CampaignResult, Failure } from './campaign.ts';
import { built, repository } from './harness/paths.ts';
import { LIMITS, rangeOf, type Supervised, supervise } from './harness/supervise.ts';
import { chooseCase } from './operators/case.ts';

export const operators: Campaign = { name: 'operators', run };

/** A build of the library, and what its processes need. */
interface Build extends Pick<Supervised, 'environment' | 'limits'> {
  readonly folder: string;
}

async function run(options: CampaignOptions): Promise<CampaignResult> {
  const { seed, log } = options;
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
  const { folder, ...needs } = build;
  const script = { script: built('operators/child.js'), args: [folder, String(seed)] };
  return { cases: await supervise({ ...rangeOf(options), ...script, ...needs, onFailure }), failures };
}

function findBuild(): Build | undefined {
  const [sanitized, released] = [repository('native/build/address/lib'), nativePath()];
  // Sanitizers need additional memory for their records.
  const limits = { ...LIMITS, bytes: 2 * LIMITS.bytes };
  if (isBuilt(sanitized)) return { folder: sanitized, environment: sanitizerEnvironment(), limits };
  return isBuilt(released) ? { folder: released } : undefined;
}

function isBuilt(folder: string): boolean {
  return ['lacuna_node.node', 'liblacuna_ort.so'].every((name) => existsSync(join(folder, name)));
}

/** A sanitizer must be loaded before the process that it watches, because Node itself is built without. */
function sanitizerEnvironment(): Supervised['environment'] {
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
