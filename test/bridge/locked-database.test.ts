/** A database that a stopped process has locked, as people meet it: programs, health, status and an alert. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { sessionId } from '#fleet/session-id.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { openStore } from '#store/open-store.ts'
import { Ground, noPython } from '../core/store/sqlite-ground.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'

const RUNS_LINES = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    database.execute(line.strip())
    print('{}', flush=True)
`

interface PythonConnection {
  readonly pid: number
  run(sql: string): Promise<void>
}

/** A connection of Python, whose transactions are open for as long as it is told. */
async function connectPython(ground: Ground): Promise<PythonConnection> {
  const python = await ground.start('python3', ['-c', RUNS_LINES, ground.path])
  const { pid, stdin } = python.process
  assert.ok(pid !== undefined)
  return {
    pid,
    run: async (sql) => {
      stdin?.write(`${sql}\n`)
      await python.hear()
    },
  }
}

function envOf(state: string): Readonly<Record<string, string>> {
  return { S2_STATE: state, S2_LISTEN: '127.0.0.1:0', HOME: state }
}

test('health, status and an alert name who holds the database; leases and beats go on, and nobody is silent', {
  skip: noPython,
}, async (context) => {
  await using ground = await Ground.make()
  const { folder: state } = ground
  const env = envOf(state)
  await using bridge = new Program(mainOf('bridge'), env)
  await bridge.says('ready')
  const alerts = join(state, 'alerts')
  await using watchdog = new Program(mainOf('watchdog'), { ...env, S2_ALERT_EXEC: `cat >> ${alerts}` })
  await watchdog.says('ready')
  await using store = await openStore(`unix:${state}/run/admin.sock`, ground.parts)
  const { id } = await store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 'w1' },
    lifetimeMs: 3_600_000,
  })
  const holder = sessionId(id, 'b')
  const task = { description: 'x', priority: 'P1', role: null, deadline: null, createdBy: null } as const
  await store.addTask({ ...task, id: 't1', holder })
  await store.leaseTask(holder, 'life')

  const python = await connectPython(ground)
  const { pid } = python
  await python.run('BEGIN IMMEDIATE')
  process.kill(pid, 'SIGSTOP')
  const began = performance.now()
  const took = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`
  const who = new RegExp(`locked .* by python3 \\(pid ${pid}, stopped\\)`)

  for (const program of ['bridge', 'watchdog']) {
    const health = async () => askHealth(program, { path: healthSocket(state, program) }, ground.parts.clock)
    await until(`${program} tells it`, async () => (await health()).troubles.database !== undefined)
    const { ready, troubles } = await health()
    assert.equal(ready, false)
    assert.match(troubles.database ?? '', who)
    assert.match(troubles.database ?? '', new RegExp(`kill -CONT ${pid}`))
    context.diagnostic(`${program} is not ready after ${took()}`)
  }
  await until('people are told', () => existsSync(alerts) && who.test(readFileSync(alerts, 'utf8')))
  context.diagnostic(`people are told after ${took()}`)

  const status = await new Promise<{ code: number | null; said: string }>((resolve) => {
    const cli = new Program(mainOf('cli'), { ...env, S2_STORE: `sqlite:${ground.path}` }, ['status'])
    void cli.ended.then(({ code }) => resolve({ code, said: cli.said }))
  })
  assert.equal(status.code, 1)
  assert.match(status.said, who)
  assert.match(status.said, /^w1 /m, 'what is read needs no lock')
  const report = { task: 't1', epoch: 1, state: 'in_progress', progress: 'under the lock', result: null } as const
  assert.equal((await store.report(holder, report)).progress, 'under the lock')
  await store.beat([{ session: holder, host: 'h', incarnation: 'i', seq: 1, work: 0 }])
  assert.equal((await store.pulses(0)).pulses.length, 1)
  await assert.rejects(store.send(sessionId(id, 'a'), 'k', { text: 'hi' }), who)

  process.kill(pid, 'SIGCONT')
  await python.run('ROLLBACK')
  await until('the bridge is ready again', async () => {
    return (await askHealth('bridge', { path: healthSocket(state, 'bridge') }, ground.parts.clock)).ready
  })
  await until('the renewal is kept', async () => (await store.task('t1')).progress === 'under the lock')
  await until('people are told that it is over', () => /can be written to again/.test(readFileSync(alerts, 'utf8')))
  const causes = (await store.incidents({ open: false })).map(({ cause, closedAt }) => [cause, closedAt !== null])
  assert.deepEqual(causes, [['database:locked', true]])
  assert.equal((await bridge.end()).code, 0)
  assert.equal((await watchdog.end()).code, 0)
})

test('a reader that was stopped is a warning in the health of a bridge that stays ready', {
  skip: noPython,
}, async () => {
  await using ground = await Ground.make()
  const { folder: state } = ground
  const env = envOf(state)
  await using bridge = new Program(mainOf('bridge'), env)
  await bridge.says('ready')
  const python = await connectPython(ground)
  const { pid } = python
  for (const sql of ['BEGIN', 'SELECT count(*) FROM messages']) await python.run(sql)
  process.kill(pid, 'SIGSTOP')
  ground.look((database) => {
    database.pragma('synchronous = OFF')
    database.exec('CREATE TABLE others (x); INSERT INTO others VALUES (zeroblob(80000000))')
  })
  const health = async () => askHealth('bridge', { path: healthSocket(state, 'bridge') }, ground.parts.clock)
  await until('the bridge warns', async () => (await health()).warnings.log !== undefined)
  const { ready, troubles, warnings } = await health()
  assert.deepEqual([ready, troubles], [true, {}])
  assert.match(warnings.log ?? '', new RegExp(`python3 \\(pid ${pid}, stopped\\) .*kill -CONT ${pid}`))
  const shown = new Program(mainOf('cli'), env, ['health', 'bridge'])
  assert.equal((await shown.ended).code, 0)
  assert.match(shown.said, /bridge +ready +warning: the log of the database /)
  process.kill(pid, 'SIGCONT')
  await python.run('ROLLBACK')
  await until('it is over', async () => (await health()).warnings.log === undefined)
  assert.equal((await bridge.end()).code, 0)
})
