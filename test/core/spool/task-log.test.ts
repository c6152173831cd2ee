import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { formerOf } from '#spool/line-log.ts'
import { logsIn, readLog, TaskLogWriter, taskLog } from '#spool/task-log.ts'
import { tempState } from './sample.ts'

function fail(error: unknown): never {
  throw error
}

test('what is said of each task lies in a file of its own, in the order in which it was said', async () => {
  using home = tempState()
  const log = new TaskLogWriter(home.state, fail)
  for (let line = 0; line < 100; line += 1) {
    log.write('t-1', `one ${line}\n`)
    log.write('t-2', `two ${line}\n`)
  }
  await log.settled()
  const path = taskLog(home.state, 't-1')
  const expected = Array.from({ length: 100 }, (_, line) => `one ${line}\n`).join('')
  assert.equal(readFileSync(path, 'utf8'), expected)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual((await logsIn(home.state)).map(({ task }) => task).sort(), ['t-1', 't-2'])
})

test('a log that is full makes room for the next one, and old logs of others go', async () => {
  using home = tempState()
  const log = new TaskLogWriter(home.state, fail)
  for (const part of ['a', 'b', 'c', 'd', 'e', 'f']) {
    log.write('t-1', `${part.repeat(199_999)}\n`)
    await log.settled()
  }
  const path = taskLog(home.state, 't-1')
  assert.ok(statSync(path).size + statSync(formerOf(path)).size <= 1_200_000)
  assert.match(readFileSync(path, 'utf8'), /f\n$/)
  for (let old = 0; old < 205; old += 1) {
    writeFileSync(taskLog(home.state, `old-${old}`), 'x\n')
    utimesSync(taskLog(home.state, `old-${old}`), 1_000 + old, 1_000 + old)
  }
  log.write('t-2', 'x\n')
  await log.settled()
  assert.equal((await logsIn(home.state)).length, 200)
  assert.ok(!existsSync(taskLog(home.state, 'old-0')) && existsSync(path))
})

test('a disk that fails is told and costs nothing, a link is not followed, and no name leads elsewhere', async () => {
  using home = tempState()
  const troubles: unknown[] = []
  const log = new TaskLogWriter(home.state, (error) => troubles.push(error))
  log.write('../t', 'x\n')
  mkdirSync(join(home.state, 'agents', 'logs'), { recursive: true })
  writeFileSync(join(home.state, 'other'), '')
  symlinkSync(join(home.state, 'other'), taskLog(home.state, 't-1'))
  log.write('t-1', 'x\n')
  await log.settled()
  assert.equal(troubles.length, 1)
  assert.equal(readFileSync(join(home.state, 'other'), 'utf8'), '')
  assert.deepEqual(readdirSync(join(home.state, 'agents')), ['logs'])
})

test('a log is read on from where it ended, whole lines only, and anew where it was begun anew', async () => {
  using home = tempState()
  const path = join(home.state, 'log')
  writeFileSync(path, 'one\ntwo\nthr')
  const first = await readLog(path, 0)
  assert.equal(first.text, 'one\ntwo\n')
  writeFileSync(path, 'one\ntwo\nthree\n')
  const second = await readLog(path, first.end)
  assert.equal(second.text, 'three\n')
  writeFileSync(path, 'new\n')
  assert.equal((await readLog(path, second.end)).text, 'new\n')
})
