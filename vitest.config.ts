import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Those that take longest: if one of them began last, one worker would be idle for minutes. */
const LONG =
  /\/test\/(real\/|consumers\/real|bench|build|cli|native|replace|report|spark|wizard)|\/(probe|precisions|evaluate)\.test/;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => Number(LONG.test(b.moduleId)) - Number(LONG.test(a.moduleId)));
  }
}

/**
 * In processes of their own. One puts another module in a module's place, one gives transformers.js its runtime before it
 * loads, one measures the memory of child processes, which on Linux begins with their parent's.
 */
const ALONE = ['test/presets.test.ts', 'test/backend.test.ts', 'fuzz/harness/supervise.test.ts'];

export default defineConfig({
  test: {
    globalSetup: ['fixtures/make.js', 'test/real/converted-folder.ts'],
    testTimeout: 30_000,
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      // Modules are loaded once a process and not once a file, which takes a third of the time.
      {
        extends: true,
        test: {
          name: 'all',
          include: ['{src,formats,converters,calibrate,fuzz,test}/**/*.test.ts'],
          exclude: ALONE,
          isolate: false,
        },
      },
      { extends: true, test: { name: 'alone', include: ALONE } },
    ],
  },
});
