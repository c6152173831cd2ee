/** `s2 work` in a place that cannot work: what it prints, its exit code, and what the bridge knows then. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { publishCredential } from '#spool/credentials.ts'
import { HeldTasks } from '#spool/held-tasks.ts'
import { Outbox } from '#spool/outbox.ts'
import { RunningTasks } from '#spool/running-tasks.ts'
import { OutboxSender } from '../../services/keepalive/outbox-sender.ts'
import { Ground, type Seat } from '../bridge/ground.ts'
import { type Outcome, run } from '../cli/run-command.ts'
import { mainOf, Program } from '../program.ts'

const state = mkdtempSync(join(tmpdir(), 's2-work-'))
const over = new AbortController()
let ground: Ground
let seat: Seat

before(async () => {
  ground = await Ground.open()
  seat = (await ground.channel()).b
  await publishCredential(state, {
    ...{ session: seat.session, agent: 's2-worker-1', role: 'tests', token: seat.token },
    ...{ bridgeUrl: ground.bridge.url, createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
  })
})

after(async () => {
  over.abort()
  await ground?.[Symbol.asyncDispose]()
  rmSync(state, { recursive: true })
})

/** Runs `s2 work --once` beside a keepalive that carries its reports. */
async function workOnce(
  exec: string,
  more: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<Outcome> {
  const outbox = new Outbox(state)
  const nothing = (): void => undefined
  const store = ground.as([seat])
  const sender = new OutboxSender({
    ...{ clock: systemClock, chance: () => 0.5, signal: over.signal, store, outbox },
    ...{ onSent: nothing, onRefused: nothing, onTrouble: nothing, onWell: nothing },
  })
  const ended = new AbortController()
  const carrying = (async () => {
    while (!ended.signal.aborted) {
      sender.enqueue(await outbox.names())
      await systemClock.sleep(20)
    }
  })()
  const outcome = await run(['work', '--exec', exec, '--once', ...more], {
    env: { S2_STATE: state, PATH: process.env.PATH, ...env },
    folder: state,
  })
  ended.abort()
  await carrying
  return outcome
}

async function add(id: string): Promise<void> {
  const rest = { priority: 'P2', role: null, deadline: null, createdBy: null } as const
  await ground.store.addTask({ id, description: `do ${id}`, holder: seat.session, ...rest })
}

test('without its program it gives the task back, tells the fleet, and ends with code 69', async () => {
  await add('t-1')
  const { code, err } = await workOnce('no-such-agent -p')
  const why = 'the program no-such-agent is not installed (not found in PATH)'
  assert.equal(code, 69, err)
  assert.match(
    err,
    /s2: no command can work here: the program no-such-agent .*; the next try is in (?:5[4-9]|6[0-6])s\n/,
  )
  assert.match(err, /s2: t-1 went back: no command can work here: the program no-such-agent/)
  assert.doesNotMatch(err, /exit code none/)
  assert.ok(err.endsWith(`s2: no command can work here: ${why}\n  next: mend that, and start s2 work again\n`), err)
  const [condition] = await ground.store.conditions()
  assert.deepEqual([condition?.state, condition?.why], ['sick', why])
  const { state: now, attempts } = await ground.store.task('t-1')
  assert.deepEqual([now, attempts[0]?.end, attempts[0]?.note], ['pending', 'sick', why])
})

test('a limit is told with its end, also as JSON, and the next start makes the agent well again', async () => {
  await add('t-2')
  const { code, out } = await workOnce("echo 'no licence'; echo 'retry-after: 3600'; exit 75", ['--json'])
  assert.equal(code, 69)
  const events = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const parked = events.find(({ event }) => event === 'parked')
  assert.deepEqual([parked?.level, parked?.why], ['warn', 'no licence'])
  const leftMs = Date.parse(String(parked?.until)) - Date.now()
  assert.ok(leftMs > 3_500_000 && leftMs <= 3_600_000, `${parked?.until}`)
  const returned = events.find(({ event }) => event === 'returned')
  assert.deepEqual([returned?.task, returned?.cause, returned?.why], ['t-2', 'parked', 'no licence'])
  assert.equal((await ground.store.conditions())[0]?.state, 'parked')

  await add('t-3')
  const next = await workOnce('cat')
  assert.equal(next.code, 0, next.err)
  assert.equal((await ground.store.task('t-3')).state, 'completed')
  assert.deepEqual(await ground.store.conditions(), [])
})

test('a task that is withdrawn ends its command, and its result is no fault', async () => {
  await add('t-withdrawn')
  const working = workOnce('exec sleep 60', [], { S2_LEASE: '6s' })
  while ((await ground.store.task('t-withdrawn')).state !== 'in_progress') await systemClock.sleep(20)
  await ground.store.cancelTask('t-withdrawn')
  const { code, err } = await working
  assert.equal(code, 0, err)
  assert.match(err, /s2: stopping the command of t-withdrawn: the task was taken away/)
  assert.match(err, /s2: t-withdrawn was taken away: how its command ended counts no more\n/)
  assert.doesNotMatch(err, /refused/)
})

test('a task that a live client of this host took by hand is left to it', async () => {
  await add('t-hand')
  const [life, namespace] = [processStart(process.pid) ?? '', pidNamespace()]
  const task = await ground.store.leaseTask(seat.session, 'by-hand')
  assert.equal(task?.id, 't-hand')
  const files = new HeldTasks(state)
  const held = {
    session: seat.session,
    task: 't-hand',
    epoch: 1,
    incarnation: 'by-hand',
    by: null,
    place: null,
  } as const
  const who = {
    process: { pid: process.pid, startTicks: life, namespace },
    takenAt: 0,
    work: 0,
    lost: null,
    ended: null,
  }
  await files.put({ ...held, ...who })
  const idle = await workOnce('cat')
  assert.equal(idle.code, 0, idle.err)
  const { state: now, epoch } = await ground.store.task('t-hand')
  assert.deepEqual([now, epoch], ['accepted', 1], 'it is not interrupted')
  await files.put({ ...held, ...who, process: { ...who.process, startTicks: '1' } })
  await workOnce('cat')
  assert.equal((await ground.store.task('t-hand')).state, 'completed', 'its client is dead')
})

test('a command says by `s2 task` how its task goes and ends, though s2 is not in its PATH', async () => {
  const PATH = '/usr/bin:/bin'
  await add('t-says')
  const line =
    's2 task progress $S2_TASK_ID --note half --checkpoint "a is done"; s2 task take; s2 task done $S2_TASK_ID --result merged; exit 7'
  const { code, err, out } = await workOnce(line, [], { PATH })
  assert.equal(code, 0, err)
  const { state: now, result, progress, checkpoint } = await ground.store.task('t-says')
  assert.deepEqual([now, result?.tail, progress, checkpoint], ['completed', 'merged', 'half', 'a is done'], out + err)
  assert.match(out, /── task t-says · P2 · epoch 1 · `s2 work`, which began it for you, renews the lease/)
  assert.deepEqual(await new RunningTasks(state).list(), [])
  assert.deepEqual(await new RunningTasks(state).allSaid(), [])

  await add('t-cannot')
  const failing = await workOnce("s2 task fail t-cannot --why 'no such file'; s2 task take || true", [], { PATH })
  const failed = await ground.store.task('t-cannot')
  assert.deepEqual([failed.state, failed.result?.tail], ['failed', 'no such file'], failing.out + failing.err)
  assert.match(failing.out + failing.err, /you have ended task t-cannot[\s\S]*end this turn/)
})

test('a task that its command has ended is reported by the next start, where this one is killed before', async () => {
  await add('t-killed')
  const exec = 's2 task done $S2_TASK_ID --result merged; kill -9 $PPID; sleep 60'
  await using killed = new Program(mainOf('worker'), { S2_STATE: state }, ['--exec', exec, '--folder', state])
  assert.equal((await killed.ended).signal, 'SIGKILL', killed.said)
  const said = await new RunningTasks(state).allSaid()
  assert.deepEqual([said.length, said[0]?.end], [1, { state: 'completed', words: 'merged' }])
  assert.deepEqual(await new RunningTasks(state).list(), [], 'nothing is inside of what is dead')
  assert.equal((await ground.store.task('t-killed')).state, 'in_progress')

  const next = await workOnce('echo begun again; exit 3')
  const { state: now, epoch, result } = await ground.store.task('t-killed')
  assert.deepEqual([now, epoch, result?.tail], ['completed', 1, 'merged'], next.out + next.err)
  assert.deepEqual(await new RunningTasks(state).allSaid(), [])
})
