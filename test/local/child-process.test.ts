/** A program of a local fleet: what keeps it from starting is named, and its lines come whole. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ChildLog } from '../../services/local/child-log.ts'
import { startChild } from '../../services/local/child-process.ts'
import { settle } from '../manual-clock.ts'
import { until } from '../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-child-'))
after(() => rmSync(folder, { recursive: true }))
const env = { PATH: process.env.PATH }

test('where its folder is missing, the folder is named and not the program', async () => {
  const gone = join(folder, 'gone')
  const path = join(folder, 'gone.log')
  using log = new ChildLog(path)
  assert.throws(() => startChild({ argv: [process.execPath, '-v'], env, folder: gone }, log, () => undefined), {
    name: 'StartError',
    code: 'no_folder',
    message: `the folder ${gone} does not exist`,
  })
  assert.throws(() => startChild({ argv: ['no-such-node'], env, folder }, log, () => undefined), {
    code: 'no_program',
    message: 'the program no-such-node is not installed (not found in PATH)',
  })
  await settle()
  assert.doesNotMatch(readFileSync(path, 'utf8'), /ENOENT/, 'its log names the program all the same')
})

test('a character that comes in two pieces is whole in its line, whatever comes by the other stream meanwhile', async () => {
  using log = new ChildLog(join(folder, 'pieces.log'))
  const lines: string[] = []
  // € is e2 82 ac: two bytes by standard output, a line by standard error, then the third.
  const script = String.raw`printf 'a \342\202'; sleep 0.3; printf 'err \360\237' >&2; sleep 0.3; printf '\254 b\n'; sleep 0.3; printf '\232\200\n' >&2`
  const child = startChild({ argv: ['/bin/sh', '-c', script], env, folder }, log, (line) => lines.push(line))
  assert.deepEqual(await child.ended, { code: 0, signal: null })
  await until('both lines have come', () => lines.length === 2)
  assert.deepEqual(lines, ['a € b', 'err 🚀'])
})
