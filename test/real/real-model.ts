/** The real models that fixtures/real/prepare.py makes, and the Python oracles beside it. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const root = dirname(dirname(import.meta.dirname));
export const smollm2 = join(root, 'fixtures/real/models/smollm2-135m');
export const gemma = join(root, 'fixtures/real/models/gemma-3-270m');
export const testText = join(root, 'texts/test.txt');

/** Python with onnxruntime, from fixtures/oracle/requirements.txt. */
export const python = join(root, '.venv/bin/python');

/**
 * Of sessions on real models. Test files run two at a time, one a core: with a second thread each, sessions would wait, spinning,
 * for one that the other file's threads keep from running, which takes half as long again and twice the time token by token.
 */
export const THREADS = 1;

/**
 * Set where all must run, as in continuous integration: tests that need what is not there fail instead of standing aside, and slow
 * ones run too.
 */
export const required = process.env.LACUNA_REAL !== undefined;

export const hasSmollm2 = required || existsSync(join(smollm2, 'config.json'));
export const hasGemma = required || existsSync(join(gemma, 'config.json'));
export const hasPython = required || existsSync(python);

/** Python with fixtures/real/requirements-verify.txt, named by the variable that `lacuna verify` reads too. */
export const transformersPython = process.env.LACUNA_PYTHON;
