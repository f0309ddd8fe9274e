/** Every command's function, before src/pipeline/door.ts adds its checks. */
export { bench } from './bench.ts';
export { build, dryRunBuild } from './build.ts';
export { calibrate, mergeCalibrations } from './calibrate.ts';
export { convert } from './convert.ts';
export { doctor } from './doctor.ts';
export { dryRun } from './dry-run.ts';
export { evaluate } from './evaluate.ts';
export { inspect } from './inspect.ts';
export { open } from './open.ts';
export { installOps, opsPath } from './ops.ts';
export { plan } from './plan.ts';
export { run, runRows } from './run.ts';
export { sparsify } from './sparsify.ts';
export { verify, writeExpectations } from './verify.ts';
