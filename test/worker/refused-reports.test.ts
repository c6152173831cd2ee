/** Reports that the bridge refuses for their form: no work is done twice for it, no healthy command is ended, and it is told. */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Code, S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { Report, Task } from '#fleet/task.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { Outbox } from '#spool/outbox.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import { parseJson } from '../../services/bridge/parse-json.ts'
import { OutboxSender } from '../../services/keepalive/outbox-sender.ts'
import { withoutText } from '../../services/worker/refused-reports.ts'
import { outboxReports } from '../../services/worker/reports-and-task-mail.ts'
import type { CommandEnd, RunningCommand, StartCommand } from '../../services/worker/running-command.ts'
import { commandStarter } from '../../services/worker/task-command.ts'
import { type Reports, TaskLoop } from '../../services/worker/task-loop.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import { ManualClock } from '../manual-clock.ts'
import { SILENT } from './silent-agent.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-refused-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const LEASE_MS = 60_000
const ROCKET = '🚀'
/** Why the bridge refuses a report; null: it takes it. */
type Refuse = (report: Report) => Code | null

/** A command that prints and ends as the test says. */
class FakeCommand implements RunningCommand {
  readonly task: string
  readonly print: (line: string) => void
  readonly #ended = Promise.withResolvers<CommandEnd>()
  isStopped = false
  open = ''

  constructor(task: string, print: (line: string) => void) {
    this.task = task
    this.print = print
  }

  get ended(): Promise<CommandEnd> {
    return this.#ended.promise
  }

  openLine(): string {
    return this.open
  }

  exit(exitCode: number, tail: string): void {
    this.#ended.resolve({ exitCode, signal: null, tail })
  }

  stop(): void {
    this.isStopped = true
    this.#ended.resolve({ exitCode: null, signal: 'SIGTERM', tail: '' })
  }
}

/** One worker over a memory store with the door of a bridge before it, and the outbox of its host. */
class Bench {
  readonly clock: ManualClock
  readonly store: Store
  readonly events: WorkEvent[] = []
  readonly commands: FakeCommand[] = []
  readonly ending = new AbortController()
  readonly reports: Report[] = []
  refuse: Refuse = () => null
  /** What the outbox says in place of what became of a report. */
  forgets = 0
  worker: SessionId = 'conv_x/b'

  constructor(clock = new ManualClock()) {
    this.clock = clock
    this.store = openMemoryStore({ clock })
  }

  async open(): Promise<this> {
    const roles = { a: 'orchestrator', b: 'tests' }
    const { id } = await this.store.openConversation({ roles, agents: { a: 'o', b: 'w1' }, lifetimeMs: 86_400_000 })
    this.worker = sessionId(id, 'b')
    return this
  }

  async add(id: string): Promise<void> {
    const rest = { priority: 'P2', role: null, deadline: null, createdBy: null } as const
    await this.store.addTask({ id, description: `do ${id}`, holder: this.worker, ...rest })
  }

  /** As the bridge reads it: by its form first, and then by what it says. */
  readonly take = async (holder: SessionId, report: Report): Promise<Task> => {
    parseJson(Buffer.from(JSON.stringify({ holder, report })))
    const code = this.refuse(report)
    if (code !== null) throw new S2Error(code, `the bridge does not like it: ${ROCKET}`)
    return await this.store.report(holder, report)
  }

  start(): Promise<void> {
    const outcomes: Awaited<ReturnType<Reports['carried']>>[] = []
    const reports: Reports = {
      put: async (holder, report) => {
        this.reports.push(report)
        const outcome = await this.take(holder, report).then(
          () => 'carried' as const,
          ({ message, code }: S2Error) => ({ refused: message, code }),
        )
        this.forgets -= 1
        outcomes.push(this.forgets >= 0 ? 'unknown' : outcome)
        return String(outcomes.length - 1)
      },
      carried: async (name) => outcomes[Number(name)] ?? 'unknown',
      waiting: async () => 0,
    }
    return this.loop(reports, this.clock, (task, print) => {
      const command = new FakeCommand(task.id, print)
      this.commands.push(command)
      return command
    })
  }

  loop(reports: Reports, clock: Clock, start: StartCommand, once = false): Promise<void> {
    const store = {
      leaseTask: (...asked: Parameters<Store['leaseTask']>) => this.store.leaseTask(...asked),
      noteCondition: (...said: Parameters<Store['noteCondition']>) => this.store.noteCondition(...said),
      report: this.take,
    }
    const loop = new TaskLoop(
      { leaseMs: LEASE_MS, pollMs: 30_000, progressMs: 5_000, quickFailureMs: 0, once },
      {
        clock,
        chance: () => 0.5,
        runId: 'life-1',
        sessions: async () => [{ session: this.worker, store }],
        reports,
        words: SILENT,
        taskMessages: {
          take: async () => ({ assigned: [], revoked: [] }),
          onNews: () => ({ [Symbol.dispose]: () => undefined }),
        },
        start,
        judge: () => null,
        say: (event) => this.events.push(event),
        draining: this.ending.signal,
        stopping: this.ending.signal,
      },
    )
    return loop.work()
  }

  get command(): FakeCommand {
    const last = this.commands.at(-1)
    assert.ok(last !== undefined, 'no command was started')
    return last
  }

  get refusals(): string[] {
    return this.events.flatMap((event) =>
      event.event === 'refused' ? `${event.task} ${event.what} ${event.then}` : [],
    )
  }

  async end(done: Promise<void>): Promise<void> {
    this.ending.abort()
    await this.clock.advance(0)
    await done
  }
}

test('a command that prints rockets completes once, with its tail', async () => {
  const bench = await new Bench().open()
  await bench.add('rockets')
  const outbox = new Outbox(join(folder, 'rockets'))
  const carrying = new AbortController()
  const nothing = (): void => undefined
  const sender = new OutboxSender({
    clock: systemClock,
    chance: () => 0.5,
    signal: carrying.signal,
    store: { report: bench.take, send: () => assert.fail(), post: () => assert.fail(), record: () => assert.fail() },
    outbox,
    ...{ onSent: nothing, onRefused: nothing, onTrouble: nothing, onWell: nothing },
  })
  const reports: Reports = {
    ...outboxReports(outbox),
    put: async (holder, report) => {
      const name = await outbox.put({ kind: 'report', holder, report })
      sender.enqueue(await outbox.names())
      return name
    },
  }
  let starts = 0
  // What python3 -c 'print(chr(0x1F680)*2500)' prints.
  const script = `process.stdout.write('${ROCKET}'.repeat(2500) + '\\n')`
  const starter = commandStarter([process.execPath, '-e', script], {}, folder, systemClock)
  const start: StartCommand = (task, onLine) => {
    starts += 1
    return starter(task, onLine)
  }
  await bench.loop(reports, systemClock, start, true)
  carrying.abort()
  await sender.done
  const { state, epoch, result, progress } = await bench.store.task('rockets')
  assert.deepEqual([state, epoch, starts, bench.refusals], ['completed', 1, 1, []])
  assert.equal(result?.tail, `${ROCKET.repeat(1_999)}\n`)
  assert.equal(progress, ROCKET.repeat(250))
})

test('a line of rockets after a letter does not end the live command', async () => {
  const bench = await new Bench().open()
  await bench.add('live')
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.print(`x${ROCKET.repeat(400)}`)
  await bench.clock.advance(10 * LEASE_MS)
  assert.equal(bench.command.isStopped, false, 'the healthy command was ended')
  assert.equal((await bench.store.task('live')).progress, `x${ROCKET.repeat(249)}`)
  assert.deepEqual(bench.refusals, [])
  bench.command.exit(0, `half ${ROCKET.charAt(0)}`)
  await bench.clock.advance(1_000)
  const { state, epoch, result } = await bench.store.task('live')
  assert.deepEqual([state, epoch, result?.tail], ['completed', 1, 'half \ufffd'])
  await bench.end(done)
})

test('a renewal whose text is refused goes on without it: the lease stays, and it is told once', async () => {
  const bench = await new Bench().open()
  bench.refuse = ({ progress }) => (progress === null ? null : 'too_large')
  await bench.add('talkative')
  const done = bench.start()
  await bench.clock.advance(10)
  const { leaseSeq } = await bench.store.task('talkative')
  for (let line = 0; line < 600; line += 1) {
    bench.command.print(`line ${line}`)
    await bench.clock.advance(1_000)
  }
  assert.equal(bench.command.isStopped, false, 'the healthy command was ended')
  const task = await bench.store.task('talkative')
  assert.ok(task.epoch === 1 && task.leaseSeq > leaseSeq + 20, `${task.leaseSeq}`)
  assert.deepEqual(bench.refusals, ['talkative progress told_without_text'])
  bench.command.exit(0, 'done')
  await bench.clock.advance(1_000)
  assert.equal((await bench.store.task('talkative')).state, 'completed')
  assert.equal(bench.commands.length, 1)
  await bench.end(done)
})

test('a lease that is refused in every form ends the command before another can have it, and is not tried again', async () => {
  const bench = await new Bench().open()
  bench.refuse = ({ state }) => (state === 'in_progress' ? 'invalid' : null)
  await bench.add('unrenewable')
  const done = bench.start()
  await bench.clock.advance(3 * LEASE_MS)
  assert.equal(bench.command.isStopped, true)
  assert.deepEqual(bench.refusals, ['unrenewable progress not_taken_again'])
  await bench.clock.advance(60 * LEASE_MS)
  assert.equal(bench.commands.length, 1, 'it is done again and again')
  await bench.end(done)
})

test('an end whose report is refused is told by what can be told, and not redone', async () => {
  const bench = await new Bench().open()
  bench.refuse = ({ result }) => (result?.tail.includes('poison') ? 'invalid' : null)
  await bench.add('a-poisonous')
  await bench.add('next')
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.exit(3, 'poison')
  await bench.clock.advance(2_000)
  const { state, epoch, result } = await bench.store.task('a-poisonous')
  assert.deepEqual([state, epoch, result?.exitCode], ['failed', 1, 3])
  assert.match(result?.tail ?? '', /^[\x20-\x7e]+\n$/, 'it is plain ASCII')
  assert.match(result?.tail ?? '', /exit code 3\. The bridge refused .* \(invalid: the bridge does not like it: \?\?\)/)
  assert.deepEqual(bench.refusals, ['a-poisonous result told_without_text'])
  assert.deepEqual(
    bench.commands.map(({ task }) => task),
    ['a-poisonous', 'next'],
  )
  await bench.end(done)
})

test('an end that is refused in every form is told as that, its task is not taken again, and the next one is done', async () => {
  const bench = await new Bench().open()
  bench.refuse = ({ task, state }) => (task === 'a-hopeless' && state !== 'in_progress' ? 'too_large' : null)
  await bench.add('a-hopeless')
  await bench.add('good')
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.exit(0, 'out')
  await bench.clock.advance(2_000)
  assert.deepEqual(bench.refusals, ['a-hopeless result told_without_text', 'a-hopeless result not_taken_again'])
  assert.equal(bench.command.task, 'good')
  // Nobody else is there, so the watchdog gives it back, with a new epoch, more than once.
  for (let round = 0; round < 3; round += 1) {
    const { epoch } = await bench.store.task('a-hopeless')
    assert.equal(await bench.store.move({ task: 'a-hopeless', epoch, to: bench.worker, reason: 'lease_lapsed' }), true)
    await bench.clock.advance(2 * LEASE_MS)
  }
  bench.command.exit(0, 'good')
  await bench.clock.advance(10 * LEASE_MS)
  assert.deepEqual(
    bench.commands.map(({ task }) => task),
    ['a-hopeless', 'good'],
  )
  assert.equal((await bench.store.task('good')).state, 'completed')
  await bench.end(done)
})

test('a former holder’s end is refused for what it says, and nothing follows', async () => {
  const bench = await new Bench().open()
  await bench.add('moved')
  const done = bench.start()
  await bench.clock.advance(10)
  const { epoch } = await bench.store.task('moved')
  await bench.store.move({ task: 'moved', epoch, to: null, reason: 'by_hand' })
  bench.command.exit(0, 'late')
  await bench.clock.advance(2_000)
  assert.deepEqual(bench.refusals, ['moved result nothing'])
  assert.equal(bench.reports.length, 1)
  await bench.end(done)
})

test('a report that left the outbox by nobody knows whom is put again, and counts once', async () => {
  const bench = await new Bench().open()
  await bench.add('vanished')
  bench.forgets = 1
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.exit(0, 'done')
  await bench.clock.advance(2_000)
  assert.equal(bench.reports.length, 2)
  assert.equal((await bench.store.task('vanished')).state, 'completed')
  assert.deepEqual(bench.refusals, [])
  assert.equal(bench.events.filter(({ event }) => event === 'reported').length, 1)
  await bench.end(done)
})

test('where nobody can ever tell what becomes of a report, that is told, and the work is not redone', async () => {
  const bench = await new Bench().open()
  await bench.add('dark')
  bench.forgets = 100
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.exit(0, 'done')
  await bench.clock.advance(2_000)
  assert.equal(bench.reports.length, 2)
  assert.deepEqual(bench.refusals, ['dark result not_taken_again'])
  await bench.end(done)
})

test('the very last line counts as progress, also right before the end', async () => {
  const bench = await new Bench().open()
  await bench.add('short')
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.print('first')
  await bench.clock.advance(10)
  bench.command.print('12 of 12 passed')
  bench.command.exit(0, 'first\n12 of 12 passed')
  await bench.clock.advance(1_000)
  assert.equal((await bench.store.task('short')).progress, '12 of 12 passed')
  await bench.end(done)
})

test('a question without the end of its line is told as progress while the command waits', async () => {
  const bench = await new Bench().open()
  await bench.add('asks')
  const done = bench.start()
  await bench.clock.advance(10)
  bench.command.print('one')
  bench.command.open = `Overwrite? [y/N] `
  await bench.clock.advance(LEASE_MS)
  assert.equal((await bench.store.task('asks')).progress, 'Overwrite? [y/N]')
  await bench.end(done)
})

test('what is told of an end without its text has its signal or exit code, and says where the text is', () => {
  const report: Report = { task: 't', epoch: 2, state: 'failed', progress: ROCKET, result: null }
  const refusal = { refused: `a text\n${'é'.repeat(1_000)}`, code: 'invalid' } as const
  const killed = withoutText({ ...report, result: { exitCode: null, signal: 'SIGKILL', tail: ROCKET } }, refusal)
  assert.match(killed.result?.tail ?? '', /^S2: ended by SIGKILL\. .*outbox\/refused\.\n$/)
  assert.deepEqual([killed.progress, killed.result?.signal, killed.epoch], [null, 'SIGKILL', 2])
  assert.ok((killed.result?.tail.length ?? 0) < 600)
  assert.match(withoutText(report, refusal).result?.tail ?? '', /ended without an exit code/)
})
