import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { TaskLogWriter, taskLog } from '#spool/task-log.ts'
import { until } from '../until.ts'
import { run } from './run-command.ts'

const top = mkdtempSync(join(tmpdir(), 's2-logs-'))
after(() => rmSync(top, { recursive: true, force: true }))

async function written(state: string, task: string, ...lines: readonly string[]): Promise<void> {
  const log = new TaskLogWriter(state, (error) => {
    throw error
  })
  for (const line of lines) log.write(task, `${line}\n`)
  await log.settled()
}

test('the last lines of a task, of an agent of a local fleet, and of the latest task are shown', async () => {
  const state = join(top, 'fleet')
  const env = { S2_STATE: state }
  await written(join(state, 'workers', 's2-worker-1'), 't-1', 'one', 'two', 'three')
  utimesSync(taskLog(join(state, 'workers', 's2-worker-1'), 't-1'), 1_000, 1_000)
  await written(join(state, 'workers', 's2-worker-2'), 't-2', 'four')
  assert.deepEqual(await run(['logs', 't-1', '-n', '2'], { env }), {
    code: 0,
    out: 'two\nthree\n',
    err: 's2: task t-1\n',
  })
  assert.deepEqual(await run(['logs', 's2-worker-1'], { env }), {
    ...{ code: 0, out: 'one\ntwo\nthree\n', err: 's2: task t-1\n' },
  })
  assert.equal((await run(['logs'], { env })).out, 'four\n')
  assert.equal((await run(['logs', 't-2', '--json'], { env })).out, '{"task":"t-2","line":"four"}\n')
  const none = await run(['logs', 't-3'], { env })
  assert.equal(none.code, 1)
  assert.match(none.err, /no log of "t-3" lies on this host/)
})

test('nothing that a task printed steers the terminal, and secrets are left out', async () => {
  const state = join(top, 'raw')
  const token = ['ghp', 'a1B2'.repeat(9)].join('_')
  await written(state, 't-1', `\u001b]0;title\u0007 red \u001b[31m ${token}`)
  const { out } = await run(['logs'], { env: { S2_STATE: state } })
  for (const raw of ['\u001b', '\u0007', 'a1B2']) assert.ok(!out.includes(raw), JSON.stringify(out))
})

test('what comes is followed, also into the next task of an agent', async () => {
  const state = join(top, 'live')
  await written(state, 't-1', 'one')
  let out = ''
  let leave: () => void = () => undefined
  const running = run(['logs', '-f'], {
    env: { S2_STATE: state },
    print: (text) => {
      out += text
    },
    onSignal: (_, heard) => {
      leave = () => heard('SIGINT')
      return { [Symbol.dispose]: () => undefined }
    },
  })
  await until('the first line', () => out === 'one\n')
  await written(state, 't-1', 'two')
  await until('the second line', () => out === 'one\ntwo\n')
  await written(state, 't-2', 'three')
  await until('the next task', () => out === 'one\ntwo\nthree\n')
  leave()
  assert.equal((await running).code, 0)
})
