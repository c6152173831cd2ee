/** Each state of a task has a clock: what follows when it runs out, and after how long people are told. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Incident } from '#fleet/incident.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { stallIncident } from '../../services/watchdog/task-incidents.ts'
import { BEAT, CONFIG, instead, Stage } from './stage.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
/** The defaults of the settings. */
const CLOCKS: Partial<WatchConfig> = { takeWithinMs: 2 * MINUTE, stallAfterMs: 15 * MINUTE }
/** Two looks at the tasks: so much later than its clock says may something happen. */
const LOOK = 2 * SECOND

/** A fleet whose agents w1 … were heard, and a watchdog with the default clocks. */
async function fleet(count: number, more: Partial<WatchConfig> = {}, roles: Readonly<Record<string, string>> = {}) {
  const stage = await Stage.open(count, roles)
  const watchdog = stage.watchdog({ config: { ...CLOCKS, ...more } })
  await stage.run(20 * SECOND)
  return { stage, watchdog }
}

async function add(stage: Stage, id: string, holder: string | null, more: Partial<NewTask> = {}): Promise<Task> {
  const session = holder === null ? null : stage.actor(holder).session
  const wanted: NewTask = {
    id,
    description: `do ${id}`,
    priority: 'P2',
    role: null,
    holder: session,
    deadline: null,
    createdBy: null,
  }
  return await stage.store.addTask({ ...wanted, ...more })
}

/** The agent's worker takes its next task. */
async function take(stage: Stage, agent: string, life = `${agent}-life`): Promise<Task> {
  const task = await stage.store.leaseTask(stage.actor(agent).session, life)
  assert.ok(task, `${agent} has nothing to take`)
  return task
}

/** For so long its worker renews the lease, and reports this many more signs of work each time. */
async function renew(stage: Stage, agent: string, { id, epoch }: Task, ms: number, signs = 0): Promise<void> {
  for (let left = ms; left > 0; left -= 20 * SECOND) {
    const { work, progress } = await stage.store.task(id)
    const report = {
      task: id,
      epoch,
      state: 'in_progress',
      progress,
      result: null,
      work: Math.max(1, work) + signs,
    } as const
    await stage.store.report(stage.actor(agent).session, report).catch(() => undefined)
    await stage.run(Math.min(left, 20 * SECOND))
  }
}

async function incident(stage: Stage, cause: string): Promise<Incident> {
  const found = (await stage.store.incidents({ open: false })).findLast((each) => each.cause === cause)
  assert.ok(found, `${cause} is none of ${(await stage.incidents()).join(', ')}`)
  return found
}

/** How long it takes until something is so, milliseconds. */
async function until(stage: Stage, isSo: () => Promise<boolean>, within: number): Promise<number> {
  const from = stage.clock.now()
  while (!(await isSo())) {
    assert.ok(stage.clock.now() - from < within, 'it took too long')
    await stage.run(250)
  }
  return stage.clock.now() - from
}

function isWithin(ms: number, least: number): void {
  assert.ok(ms >= least && ms <= least + LOOK, `${ms} ms, not ${least} to ${least + LOOK}`)
}

suite('a task that nobody takes', () => {
  test('its holder is woken again, then another of the role gets it, and people are told of the holder', async () => {
    const { stage } = await fleet(3, {}, { w1: 'docs', w2: 'docs', w3: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    const letters = async (): Promise<number> => (await stage.letters(stage.actor('w1').session)).length
    isWithin(await until(stage, async () => (await letters()) === 2, MINUTE), 30 * SECOND)
    isWithin(await until(stage, async () => (await stage.holders()).t1 === 'w2', 3 * MINUTE), 90 * SECOND - LOOK)
    const { priority, moves, attempts } = await stage.store.task('t1')
    assert.deepEqual([priority, moves, attempts], ['P2', 1, []])
    assert.match((await incident(stage, 'task_not_taken:w1')).summary, /; another agent gets its work$/)
  })

  test('with no other of the role it stays, and one incident says who takes nothing until it does', async () => {
    const { stage, watchdog } = await fleet(2, {}, { w1: 'docs', w2: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    await add(stage, 't2', 'w1', { role: 'docs' })
    isWithin(await until(stage, async () => (await stage.open()).length > 0, 3 * MINUTE), 2 * MINUTE)
    await stage.run(HOUR)
    assert.deepEqual([await stage.incidents(), watchdog.moved], [['task_not_taken:w1'], 0])
    assert.match(
      (await incident(stage, 'task_not_taken:w1')).summary,
      /^w1 on host-w1 beats and has not taken t1, t2 for 2m: .*; no other agent is free to take t1, t2$/,
    )
    await take(stage, 'w1')
    await stage.run(LOOK)
    assert.deepEqual(await stage.open(), [])
    assert.equal((await incident(stage, 'task_not_taken:w1')).outcome, 'w1 took a task')
  })

  test('that its tasks went to others ends nothing: its incident lasts, and it is shown, until it shows work', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await stage.run(3 * MINUTE)
    const task = await take(stage, 'w2')
    await add(stage, 't2', 'w1')
    await renew(stage, 'w2', task, 5 * MINUTE, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
    assert.deepEqual([await stage.incidents(), (await stage.verdicts()).w1], [['task_not_taken:w1'], 'stalled'])
    stage.actor('w1').work += 1
    await stage.run(BEAT + LOOK)
    assert.deepEqual([await stage.incidents(), (await stage.verdicts()).w1], [['-task_not_taken:w1'], 'alive'])
    assert.equal(
      (await incident(stage, 'task_not_taken:w1')).outcome,
      'w1 shows signs of work again, or was started again: it gets tasks as before',
    )
  })

  test('that its task was withdrawn, its conversation ended, or another watchdog came ends it no more', async () => {
    const { stage, watchdog } = await fleet(3, {}, { w1: 'docs', w2: 'tests', w3: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    await add(stage, 't2', 'w2', { role: 'tests' })
    const other = stage.watchdog({ config: CLOCKS })
    await stage.run(3 * MINUTE)
    await stage.store.cancelTask('t1')
    await stage.store.endConversation(stage.actor('w2').session.slice(0, -2))
    await stage.run(MINUTE)
    const task = await take(stage, 'w3')
    await renew(stage, 'w3', task, 10 * MINUTE, 1)
    await watchdog.stop()
    stage.watchdog({ config: CLOCKS })
    await renew(stage, 'w3', task, 10 * MINUTE, 1)
    await other.stop()
    await renew(stage, 'w3', task, MINUTE, 1)
    assert.deepEqual(await stage.incidents(), ['task_not_taken:w1', 'task_not_taken:w2'])
    await add(stage, 't3', 'w1', { role: 'docs' })
    await take(stage, 'w1')
    await stage.run(LOOK)
    assert.deepEqual(await stage.incidents(), ['-task_not_taken:w1', 'task_not_taken:w2'])
  })

  test('one that reads its mail and takes nothing of what lies there has one incident all the same', async () => {
    const { stage } = await fleet(2, {}, { w1: 'docs', w2: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    for (let minutes = 0; minutes < 30; minutes += 1) {
      stage.actor('w1').work += 1
      await stage.run(MINUTE)
    }
    assert.deepEqual(await stage.incidents(), ['task_not_taken:w1'])
    await stage.store.cancelTask('t1')
    stage.actor('w1').work += 1
    await stage.run(MINUTE)
    assert.deepEqual(await stage.incidents(), ['-task_not_taken:w1'])
  })

  test('one that reads its mail and left it to an agent that is busy does not get it back', async () => {
    const { stage, watchdog } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await add(stage, 't2', 'w2')
    const task = await take(stage, 'w2')
    for (let minutes = 0; minutes < 10; minutes += 1) {
      await renew(stage, 'w2', task, MINUTE, 1)
      stage.actor('w1').work += 1
    }
    assert.deepEqual([await stage.holders(), watchdog.moved], [{ t1: 'w2', t2: 'w2' }, 1])
  })

  test('an agent that works off many short tasks is not idle between two of them', async () => {
    const { stage, watchdog } = await fleet(2, {}, { w1: 'docs', w2: 'tests' })
    await using _ = stage
    for (const id of 'abcdefgh') await add(stage, id, 'w1', { role: 'docs' })
    const { session } = stage.actor('w1')
    for (const [count] of [...'abcdefgh'].entries()) {
      const task = await take(stage, 'w1')
      // Every other one begins and ends between two looks.
      await stage.run(count % 2 === 0 ? 20 * SECOND : 100)
      const result = { exitCode: 0, signal: null, tail: '' }
      await stage.store.report(session, { task: task.id, epoch: 1, state: 'completed', progress: null, result })
      await stage.run(20 * SECOND)
    }
    assert.deepEqual([await stage.incidents(), watchdog.moved], [[], 0])
    assert.equal((await stage.letters(session)).length, 8, 'and nobody reminds it')
  })

  test('an agent that takes nothing is told of once, whatever another watchdog has seen of it, until it takes its task', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await stage.run(3 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_not_taken:w1'])
    stage.watchdog({ config: CLOCKS })
    await stage.run(3 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_not_taken:w1'])
    await take(stage, 'w1')
    await stage.run(MINUTE)
    assert.deepEqual(await stage.incidents(), ['-task_not_taken:w1'])
  })

  test('what one of two watchdogs has closed, the other does not open again by a list that is older', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await stage.run(30 * SECOND)
    const [{ promise: released, resolve: release }, asked] = [Promise.withResolvers<void>(), [] as number[]]
    using _release = { [Symbol.dispose]: release } // or the watchdog would wait for its list when the test fails
    const isHeld = (): boolean => stage.clock.now() >= (asked[0] ?? 0) + 2 * MINUTE
    const readLate: Store['tasks'] = async (which) => {
      asked.push(stage.clock.now())
      const tasks = await stage.store.tasks(which)
      if (isHeld()) await released
      return tasks
    }
    stage.watchdog({ config: CLOCKS, store: instead(stage.store, { tasks: readLate }) })
    await until(stage, async () => asked.length > 0 && isHeld(), 3 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_not_taken:w1'])
    await take(stage, 'w1')
    await until(stage, async () => (await stage.open()).length === 0, 5 * SECOND)
    release()
    await stage.run(MINUTE)
    assert.deepEqual(await stage.incidents(), ['-task_not_taken:w1'])
  })

  test('an agent that takes nothing gets nothing more while another can', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await stage.run(3 * MINUTE)
    await add(stage, 't2', null)
    await stage.run(LOOK)
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
  })

  test('work behind a long task goes to an agent of the role that is free, at the same priority', async () => {
    const { stage } = await fleet(3, {}, { w1: 'docs', w2: 'docs', w3: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    await take(stage, 'w1')
    await add(stage, 't2', 'w1', { role: 'docs', priority: 'P3' })
    isWithin(await until(stage, async () => (await stage.holders()).t2 === 'w2', MINUTE), 5 * SECOND - SECOND)
    assert.equal((await stage.store.task('t2')).priority, 'P3')
  })
})

suite('a task that shows no work', () => {
  test('is told of with its last line, then ended and moved; a renewed lease is no work', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    const task = await take(stage, 'w1')
    const session = stage.actor('w1').session
    await stage.store.report(session, {
      task: 't1',
      epoch: task.epoch,
      state: 'in_progress',
      progress: 'Continue? [y/N]',
      result: null,
      work: 1,
    })
    await renew(stage, 'w1', task, 15 * MINUTE - 10 * SECOND)
    assert.deepEqual(await stage.open(), [])
    await renew(stage, 'w1', task, 15 * SECOND)
    assert.deepEqual([await stage.open(), (await stage.verdicts()).w1], [['task_stalled:t1@1'], 'stalled'])
    const { summary } = await incident(stage, 'task_stalled:t1@1')
    assert.match(
      summary,
      /^task t1 at w1 has shown no sign of work for 15m \(its last line: Continue\? \[y\/N\]\); in another 15m it is ended and begun again,/,
    )
    const stall = {
      task: { ...task, progress: `x${'😀'.repeat(200)}` },
      agent: 'w1',
      since: 0,
      action: 'tell',
    } as const
    assert.equal(stallIncident(stall, { stallAfterMs: MINUTE }).summary.isWellFormed(), true)
    await renew(stage, 'w1', task, 15 * MINUTE)
    assert.deepEqual([await stage.holders(), await stage.incidents()], [{ t1: 'w2' }, ['-task_stalled:t1@1']])
    const { attempts, priority } = await stage.store.task('t1')
    assert.deepEqual([attempts[0]?.end, attempts[0]?.note, priority], ['stalled', 'Continue? [y/N]', 'P0'])
  })

  test('with no other agent it is ended and begun again by its own, at the same priority, as often as is allowed', async () => {
    const { stage, watchdog } = await fleet(2, {}, { w1: 'docs', w2: 'tests' })
    await using _ = stage
    const { session } = stage.actor('w1')
    await add(stage, 't1', 'w1', { role: 'docs' })
    await add(stage, 't2', 'w1', { role: 'docs' })
    const begun: string[] = []
    while ((await stage.store.task('t1')).state !== 'failed') {
      assert.ok(stage.clock.now() < 3 * HOUR, 'it waits for ever')
      const task = await stage.store.leaseTask(session, 'one-life')
      if (task === null) {
        await stage.run(SECOND) // a pause before the next attempt
        continue
      }
      begun.push(`${task.id}@${task.epoch}`)
      if (task.id === 't2') {
        await stage.run(MINUTE)
        const result = { exitCode: 0, signal: null, tail: '' }
        await stage.store.report(session, { ...task, task: 't2', state: 'completed', progress: null, result })
        continue
      }
      await renew(stage, 'w1', task, 16 * MINUTE)
      assert.match(
        (await incident(stage, `task_stalled:t1@${task.epoch}`)).summary,
        /; in another 15m it is ended and begun again, by another agent where there is one$/,
      )
      await renew(stage, 'w1', task, 14 * MINUTE + LOOK)
      const late = { task: 't1', epoch: task.epoch, state: 'completed', progress: null, result: null } as const
      await assert.rejects(stage.store.report(session, late), { code: /stale_epoch|conflict/ })
    }
    assert.deepEqual(begun, ['t1@1', 't1@2', 't2@1', 't1@3', 't1@4', 't1@5'])
    const { priority, attempts, result } = await stage.store.task('t1')
    assert.deepEqual([priority, attempts.map(({ end }) => end)], ['P2', Array<string>(5).fill('stalled')])
    assert.match(result?.tail ?? '', /^it was begun 5 times and never ended\n1\. w1, .*: no sign of work\n2\. /)
    assert.equal((await incident(stage, 'task_stalled:t1@1')).outcome, 'task t1 was ended, and w1 is to begin it again')
    assert.deepEqual(
      (await stage.letters(session)).filter((letter) => letter.startsWith('task_revoked')),
      Array<string>(6).fill('task_revoked t1'),
      'once for each attempt, and when it fails before the next',
    )
    assert.equal(watchdog.moved, 5)
    assert.deepEqual(await stage.open(), [])
  })

  test('another agent gets it before its own begins it again, though the other is busy', async () => {
    const { stage } = await fleet(3)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await add(stage, 't2', 'w2')
    await add(stage, 't3', 'w3')
    const running = [await take(stage, 'w1'), await take(stage, 'w2'), await take(stage, 'w3')]
    while (stage.clock.now() < 31 * MINUTE) {
      for (const [index, task] of running.entries()) await renew(stage, `w${index + 1}`, task, 5 * SECOND, index)
    }
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2', t3: 'w3' })
  })

  test('it is told of once, whatever another watchdog has seen of it, until it shows work', async () => {
    const { stage } = await fleet(2, { onStall: { otherwise: 'tell', byName: new Map() } })
    await using _ = stage
    await add(stage, 't1', 'w1')
    const task = await take(stage, 'w1')
    await renew(stage, 'w1', task, 16 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_stalled:t1@1'])
    stage.watchdog({ config: { ...CLOCKS, onStall: { otherwise: 'tell', byName: new Map() } } })
    await renew(stage, 'w1', task, 10 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_stalled:t1@1'])
    await renew(stage, 'w1', task, 2 * MINUTE, 1)
    assert.deepEqual(await stage.incidents(), ['-task_stalled:t1@1'])
  })

  test('one whose holder sees its command work is left in peace for hours', async () => {
    const { stage, watchdog } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    const task = await take(stage, 'w1')
    for (let hours = 0; hours < 3; hours += 1) {
      await renew(stage, 'w1', task, 46 * MINUTE, 1)
      await renew(stage, 'w1', task, 14 * MINUTE)
    }
    assert.deepEqual([watchdog.moved, await stage.incidents()], [0, []])
  })

  test('it may only be told of, or end, as the fleet says of the agent, or the task itself', async () => {
    const { stage } = await fleet(4, { onStall: { otherwise: 'tell', byName: new Map([['w2', 'end']]) } })
    await using _ = stage
    await add(stage, 'told', 'w1')
    await add(stage, 'ends', 'w2')
    for (const name of ['w3', 'w4']) await add(stage, `works-${name}`, name)
    const running = [await take(stage, 'w1'), await take(stage, 'w2'), await take(stage, 'w3'), await take(stage, 'w4')]
    for (let minutes = 0; minutes < 31; minutes += 1) {
      for (const [index, task] of running.entries()) {
        const left = stage.clock.now()
        await renew(stage, `w${index + 1}`, task, 15 * SECOND, index > 1 ? 1 : 0)
        assert.equal(stage.clock.now() - left, 15 * SECOND)
      }
    }
    assert.deepEqual(
      [(await stage.store.task('told')).state, (await stage.store.task('ends')).state],
      ['in_progress', 'failed'],
    )
    assert.match((await incident(stage, 'task_stalled:told@1')).summary, /nothing is done about it/)
    assert.match(
      (await incident(stage, 'task_failed:ends@1')).summary,
      /^task ends failed at w2: it showed no sign of work for 30m;/,
    )
  })

  test('that the watchdog was paused, began anew, or has another beside it shows no work: its incident lasts', async () => {
    const { stage, watchdog } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1', { onStall: 'tell' })
    const task = await take(stage, 'w1')
    await renew(stage, 'w1', task, 10 * MINUTE)
    const other = stage.watchdog({ config: CLOCKS })
    await renew(stage, 'w1', task, 7 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_stalled:t1@1'])
    await watchdog.stop()
    await renew(stage, 'w1', task, 3 * MINUTE)
    stage.machine.stepWall(HOUR)
    await renew(stage, 'w1', task, 3 * MINUTE)
    stage.watchdog({ config: CLOCKS })
    await other.stop()
    await renew(stage, 'w1', task, 30 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['task_stalled:t1@1'])
    await renew(stage, 'w1', task, 20 * SECOND, 1)
    const { outcome } = await incident(stage, 'task_stalled:t1@1')
    assert.deepEqual([await stage.incidents(), outcome], [['-task_stalled:t1@1'], 'task t1 shows work again'])
  })

  test('its end says what became of the task', async () => {
    const { stage } = await fleet(7)
    await using _ = stage
    const running: Task[] = []
    for (let number = 1; number <= 7; number += 1) {
      await add(stage, `t-w${number}`, `w${number}`, { onStall: number === 3 ? 'end' : 'tell' })
      running.push(await take(stage, `w${number}`))
    }
    while (stage.clock.now() < 31 * MINUTE) {
      for (const [index, task] of running.entries()) {
        await renew(stage, `w${index + 1}`, task, 5 * SECOND, index < 3 ? 0 : 1)
      }
    }
    const outcome = async (id: string): Promise<string | null> =>
      (await incident(stage, `task_stalled:${id}@1`)).outcome
    await stage.store.cancelTask('t-w1')
    await stage.store.move({ task: 't-w2', epoch: 1, to: stage.actor('w4').session, reason: 'by_hand' })
    await stage.run(LOOK)
    assert.deepEqual(
      [await outcome('t-w1'), await outcome('t-w2'), await outcome('t-w3')],
      ['task t-w1 has ended', 'task t-w2 went to w4', 'task t-w3 has ended'],
    )
  })

  test('an agent that is not heard any more shows no work either', async () => {
    const { stage } = await fleet(3, {}, { w1: 'docs', w2: 'tests', w3: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs', onStall: 'tell' })
    await renew(stage, 'w1', await take(stage, 'w1'), 16 * MINUTE)
    stage.silence('w1')
    await stage.run(10 * MINUTE)
    assert.deepEqual(await stage.open(), ['silent:w1', 'task_stalled:t1@1', 'task_stranded:docs'])
  })

  test('when most of those that work stall together, one incident says so and none is moved', async () => {
    const { stage, watchdog } = await fleet(4)
    await using _ = stage
    const running: Task[] = []
    for (const name of ['w1', 'w2', 'w3']) {
      await add(stage, `t-${name}`, name)
      running.push(await take(stage, name))
    }
    for (let minutes = 0; minutes < 40; minutes += 1) {
      for (const [index, task] of running.entries()) await renew(stage, `w${index + 1}`, task, 20 * SECOND)
    }
    assert.deepEqual([watchdog.moved, await stage.incidents()], [0, ['task_stalled:many']])
    await watchdog.stop()
    stage.watchdog({ config: CLOCKS })
    for (let minutes = 0; minutes < 30; minutes += 1) {
      for (const [index, task] of running.entries()) await renew(stage, `w${index + 1}`, task, 15 * SECOND)
    }
    assert.deepEqual(await stage.incidents(), ['task_stalled:many'], 'a watchdog that begins anew saw no work')
    await Promise.all(running.map((task, index) => renew(stage, `w${index + 1}`, task, LOOK, 1)))
    assert.deepEqual(await stage.incidents(), ['-task_stalled:many'])
  })

  test('what stalls on when most show work again is told of alone when it has had its time for that', async () => {
    const { stage } = await fleet(4)
    await using _ = stage
    const running: Task[] = []
    for (const name of ['w1', 'w2', 'w3']) {
      await add(stage, `t-${name}`, name, { onStall: 'tell' })
      running.push(await take(stage, name))
    }
    const runFor = async (minutes: number, signs: readonly number[]): Promise<string[]> => {
      for (let n = 0; n < minutes; n += 1) {
        for (const [index, task] of running.entries())
          await renew(stage, `w${index + 1}`, task, 20 * SECOND, signs[index])
      }
      return await stage.incidents()
    }
    assert.deepEqual(await runFor(17, [0, 0, 0]), ['task_stalled:many'])
    assert.deepEqual(await runFor(12, [1, 1, 0]), ['-task_stalled:many'])
    assert.deepEqual(await runFor(5, [1, 1, 0]), ['-task_stalled:many', 'task_stalled:t-w3@1'])
  })

  test('an agent of the Python bridge that beats and does nothing has the same clock, and its work is a sign', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    const { session } = stage.actor('w1')
    await add(stage, 't1', 'w1')
    await stage.store.send(session, 'k', { text: JSON.stringify({ type: 'acknowledgment', task_id: 't1' }) })
    await stage.run(14 * MINUTE)
    stage.actor('w1').work += 1
    await stage.run(14 * MINUTE)
    assert.deepEqual(await stage.open(), [])
    await stage.run(MINUTE + BEAT + LOOK)
    assert.deepEqual(await stage.open(), ['task_stalled:t1@1'])
    await stage.run(15 * MINUTE)
    assert.deepEqual(await stage.holders(), { t1: 'w2' })
  })
})

suite('an agent whose daemon is not heard, and that renews its lease', () => {
  test('keeps the task that it works at, loses what it has not taken, and people are told so', async () => {
    const { stage } = await fleet(3)
    await using _ = stage
    await add(stage, 't1', 'w1')
    const task = await take(stage, 'w1')
    await renew(stage, 'w1', task, MINUTE, 1)
    await add(stage, 't2', 'w1')
    await stage.run(2 * SECOND)
    stage.silence('w1')
    await renew(stage, 'w1', task, HOUR, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w1', t2: 'w3' })
    assert.match(
      (await incident(stage, 'silent:w1')).summary,
      /^w1 on host-w1 was not heard for 1m; it still renews the lease of t1, and keeps it while it shows work: see whether s2-keepalive runs there$/,
    )
    await stage.run(MINUTE + LOOK)
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w3' })
  })

  test('loses it when it shows no work for the time after which people are told', async () => {
    const { stage } = await fleet(3)
    await using _ = stage
    await add(stage, 't1', 'w1')
    const task = await take(stage, 'w1')
    stage.silence('w1')
    await renew(stage, 'w1', task, 14 * MINUTE)
    assert.deepEqual(await stage.holders(), { t1: 'w1' })
    await renew(stage, 'w1', task, MINUTE + LOOK)
    assert.deepEqual(await stage.holders(), { t1: 'w2' })
  })

  test('with no other that could take it, one incident says so, however often the lease is renewed', async () => {
    const { stage } = await fleet(3, {}, { w1: 'docs', w2: 'tests', w3: 'tests' })
    await using _ = stage
    await add(stage, 't1', 'w1', { role: 'docs' })
    const task = await take(stage, 'w1')
    stage.silence('w1')
    await renew(stage, 'w1', task, 40 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['silent:w1', 'task_stranded:docs'])
  })
})

suite('a deadline', () => {
  test('ends whatever a task is, tells the giver, and is an incident with what was tried', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    const deadline = stage.clock.wall() + 10 * MINUTE
    await add(stage, 'runs', 'w1', { deadline })
    await add(stage, 'waits', null, { deadline, role: 'a role that nobody has' })
    const task = await take(stage, 'w1')
    await renew(stage, 'w1', task, 10 * MINUTE, 1)
    isWithin(await until(stage, async () => (await stage.store.task('waits')).state === 'failed', MINUTE), 0)
    const { state, result } = await stage.store.task('runs')
    assert.equal(state, 'failed')
    assert.match(result?.tail ?? '', /^its deadline has passed \(.*Z\)\n1\. w1, .*Z: its deadline passed$/)
    const told = await stage.letters(stage.actor('w1').session.replace(/b$/, 'a') as Task['holder'] & string)
    assert.ok(told.includes('status_update runs'))
    assert.ok((await stage.letters(stage.actor('w1').session)).includes('task_revoked runs'))
    assert.match(
      (await incident(stage, 'task_failed:runs@1')).summary,
      /^task runs failed at w1: its deadline has passed/,
    )
  })

  test('comes no sooner where the watchdog was stopped while it read the tasks', async () => {
    const { stage, watchdog } = await fleet(1)
    await using _ = stage
    await add(stage, 'runs', 'w1', { deadline: stage.clock.wall() + 60 * SECOND })
    await take(stage, 'w1')
    const tasks = stage.store.tasks.bind(stage.store)
    const goesOn = Promise.withResolvers<void>()
    stage.store.tasks = async (filter) => {
      watchdog.life.stop()
      const answer = await tasks(filter)
      await goesOn.promise // a program that is stopped reads no answer
      return answer
    }
    await stage.run(30 * SECOND)
    stage.store.tasks = tasks
    watchdog.life.goOn()
    goesOn.resolve()
    await stage.run(20 * SECOND)
    assert.equal((await stage.store.task('runs')).state, 'accepted')
    await stage.run(10 * SECOND + LOOK)
    assert.equal((await stage.store.task('runs')).state, 'failed')
  })

  test('says of a task that waited why no agent took it, and since when', async () => {
    const { stage } = await fleet(2, {}, { w1: 'docs', w2: 'tests' })
    await using _ = stage
    const deadline = stage.clock.wall() + 10 * MINUTE
    await stage.store.noteCondition(stage.actor('w1').session, { state: 'sick', why: 'no folder', until: null })
    await add(stage, 'sick', null, { deadline, role: 'docs' })
    await add(stage, 'nobody', null, { deadline, role: 'a role that nobody has' })
    await add(stage, 'untaken', 'w2', { deadline, role: 'tests' })
    await stage.run(10 * MINUTE + LOOK)
    const failed = async (id: string): Promise<string> => (await incident(stage, `task_failed:${id}@1`)).summary
    assert.equal(
      await failed('sick'),
      'task sick failed: its deadline has passed (2026-01-01T00:10:20Z); no agent could take it since 2026-01-01T00:00:20Z: w1 cannot work: no folder; s2 task show sick says more',
    )
    assert.match(
      await failed('nobody'),
      /; no agent could take it since 2026-.*Z: no agent has this role; known are docs, tests; s2 task show/,
    )
    assert.match(await failed('untaken'), / at w2: .*; w2 had it and did not begin it; s2 task show/)
    assert.match((await stage.store.task('nobody')).result?.tail ?? '', /known are docs, tests$/)
  })

  test('may give it to another agent once, for as long again', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1', { deadline: stage.clock.wall() + 10 * MINUTE, onDeadline: 'move' })
    const first = await take(stage, 'w1')
    await renew(stage, 'w1', first, 10 * MINUTE + LOOK, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w2' })
    const second = await take(stage, 'w2')
    await renew(stage, 'w2', second, 9 * MINUTE, 1)
    assert.equal((await stage.store.task('t1')).state, 'in_progress')
    await renew(stage, 'w2', second, MINUTE + LOOK, 1)
    const { state, attempts } = await stage.store.task('t1')
    assert.deepEqual([state, attempts.map(({ end }) => end)], ['failed', ['deadline', 'deadline']])
  })

  test('gives it to one that is busy, which hands it to a third, and never to the one that just failed at it', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1', { deadline: stage.clock.wall() + 2 * MINUTE, onDeadline: 'move' })
    await add(stage, 't2', 'w2')
    const [first, other] = [await take(stage, 'w1'), await take(stage, 'w2')]
    while (stage.clock.now() < 2 * MINUTE + 20 * SECOND + LOOK) {
      await renew(stage, 'w1', first, SECOND, 1)
      await renew(stage, 'w2', other, SECOND, 1)
    }
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
    await renew(stage, 'w2', other, MINUTE, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' }, 'w1 is free, and had it')
    await stage.join('w3')
    await renew(stage, 'w2', other, 20 * SECOND, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w3', t2: 'w2' })
  })

  test('gives it to a role that stands in, where no other agent of its own is there', async () => {
    const fallback = new Map([['tests', ['review']]])
    const { stage } = await fleet(2, { fallback }, { w1: 'tests', w2: 'review' })
    await using _ = stage
    const deadline = stage.clock.wall() + 2 * MINUTE
    await add(stage, 't1', 'w1', { role: 'tests', deadline, onDeadline: 'move' })
    const task = await take(stage, 'w1')
    await renew(stage, 'w1', task, 2 * MINUTE + LOOK, 1)
    assert.deepEqual(await stage.holders(), { t1: 'w2' })
  })

  test('with nobody to give it to it ends', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    await add(stage, 't1', 'w1', { deadline: stage.clock.wall() + MINUTE, onDeadline: 'move' })
    await stage.run(MINUTE + LOOK)
    assert.equal((await stage.store.task('t1')).state, 'failed')
  })

  test('a clock that is put back makes it no later', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    await add(stage, 't1', 'w1', { deadline: stage.clock.wall() + 10 * MINUTE })
    await stage.run(MINUTE)
    stage.machine.stepWall(-3 * HOUR)
    await stage.run(9 * MINUTE + LOOK)
    assert.equal((await stage.store.task('t1')).state, 'failed')
  })
})

suite('attempts', () => {
  test('a task that kills its worker is begun as often as is allowed, with pauses, and the next task begins', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    await add(stage, 'poison', 'w1', { priority: 'P1' })
    await add(stage, 'next', 'w1')
    const begun: string[] = []
    for (let life = 1; stage.clock.now() < 10 * MINUTE; life += 1) {
      const task = await stage.store.leaseTask(stage.actor('w1').session, `life-${life}`)
      if (task !== null) begun.push(task.id)
      if (task?.id === 'next') break
      await stage.run(5 * SECOND) // its supervisor starts it again
    }
    const { state, attempts, result } = await stage.store.task('poison')
    assert.deepEqual(
      [state, attempts.length, begun.at(-1)],
      ['assigned', 2, 'next'],
      'the next one begins in the first pause',
    )
    assert.equal(result, null)
    await stage.store.report(stage.actor('w1').session, {
      task: 'next',
      epoch: 1,
      state: 'completed',
      progress: null,
      result: null,
    })
    for (let life = 100; stage.clock.now() < HOUR; life += 1) {
      await stage.store.leaseTask(stage.actor('w1').session, `life-${life}`)
      await stage.run(5 * SECOND)
    }
    const ended = await stage.store.task('poison')
    assert.deepEqual([ended.state, ended.attempts.length], ['failed', CONFIG.attemptsMax])
    assert.match(
      ended.result?.tail ?? '',
      /^it was begun 5 times and never ended\n1\. w1, .*: the worker ended in the middle of it\n2\. /,
    )
    assert.deepEqual(
      (await stage.incidents()).filter((each) => each.includes('poison')),
      [`-task_exhausted:poison@${ended.epoch}`],
    )
  })
})

suite('a place that cannot work', () => {
  test('gets no tasks, what it had goes to others at the same priority, and one incident lasts until it can', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    await add(stage, 't1', 'w1')
    await add(stage, 't2', 'w1')
    const { session } = stage.actor('w1')
    const task = await take(stage, 'w1')
    const result = { exitCode: null, signal: null, tail: 'the folder /srv/x does not exist' }
    await stage.store.report(session, {
      task: task.id,
      epoch: task.epoch,
      state: 'returned',
      cause: 'sick',
      progress: null,
      result,
    })
    await stage.store.noteCondition(session, { state: 'sick', why: result.tail, until: null })
    await stage.run(LOOK)
    assert.deepEqual(await stage.holders(), { t1: 'w2', t2: 'w2' })
    assert.deepEqual([(await stage.store.task('t1')).priority, (await stage.store.task('t2')).priority], ['P2', 'P2'])
    await add(stage, 't3', null)
    await stage.run(LOOK)
    assert.equal((await stage.holders()).t3, 'w2')
    assert.equal(
      (await incident(stage, 'sick:w1')).summary,
      'w1 cannot work: the folder /srv/x does not exist; it gets no tasks, and tries again by itself',
    )
    await stage.store.noteCondition(session, { state: 'probing', why: 'it tries one task', until: null })
    await stage.run(LOOK)
    assert.deepEqual([await stage.open(), (await stage.verdicts()).w1], [['sick:w1'], 'sick'])
    await stage.store.noteCondition(session, null)
    await stage.run(LOOK)
    assert.deepEqual(
      [await stage.incidents(), (await incident(stage, 'sick:w1')).outcome],
      [['-sick:w1'], 'w1 can work again'],
    )
  })

  test('whatever it says of when it can again, the watchdog goes on', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const parked = { state: 'parked', why: 'usage limit', until: Number.MAX_SAFE_INTEGER } as const
    await stage.store.noteCondition(stage.actor('w1').session, parked)
    await stage.run(LOOK)
    assert.deepEqual(await stage.open(), ['parked:w1'])
  })

  test('is shown as what it was while it tries whether it can work again: parked, or sick', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    const shown = async (state: 'parked' | 'probing' | 'sick', why: string): Promise<unknown> => {
      await stage.store.noteCondition(session, { state, why, until: null })
      await stage.run(LOOK)
      const { verdicts } = await stage.store.verdicts()
      const found = verdicts.find(({ agent }) => agent === 'w1')
      return [found?.verdict, found?.why]
    }
    assert.deepEqual(await shown('parked', 'usage limit'), ['parked', 'usage limit'])
    assert.deepEqual(await shown('probing', 'usage limit'), [
      'parked',
      'usage limit; it tries with one task whether it can work again',
    ])
    assert.deepEqual(await stage.open(), ['parked:w1'])
    assert.deepEqual(await shown('sick', 'no folder'), ['sick', 'no folder'])
    assert.deepEqual(await shown('probing', 'no folder'), [
      'sick',
      'no folder; it tries with one task whether it can work again',
    ])
    assert.deepEqual(await stage.incidents(), ['-parked:w1', 'sick:w1'])
  })

  test('is no trouble any more when its limit has ended and no task comes to try with', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    const until = stage.clock.wall() + HOUR
    await stage.store.noteCondition(session, { state: 'parked', why: 'usage limit', until })
    await stage.run(HOUR + 10 * SECOND)
    assert.deepEqual([await stage.open(), (await stage.verdicts()).w1], [['parked:w1'], 'parked'])
    await stage.store.noteCondition(session, { state: 'probing', why: 'usage limit', until })
    await stage.run(LOOK)
    const { verdicts } = await stage.store.verdicts()
    const said = `usage limit; that ended at ${new Date(until + 59_999).toISOString().slice(0, 16)}Z, and its next task shows whether it can work`
    assert.equal(verdicts.find(({ agent }) => agent === 'w1')?.why, said)
    await stage.run(10 * MINUTE)
    assert.deepEqual([await stage.incidents(), (await stage.verdicts()).w1], [['-parked:w1'], 'alive'])
    assert.match((await incident(stage, 'parked:w1')).outcome ?? '', /^its limit ended at .*Z; the next task shows /)
    await add(stage, 't1', null)
    await stage.run(LOOK)
    assert.deepEqual(await stage.holders(), { t1: 'w1' })
    await stage.store.noteCondition(session, { state: 'parked', why: 'usage limit', until: until + HOUR })
    await stage.run(LOOK)
    assert.deepEqual(await stage.incidents(), ['-parked:w1', 'parked:w1'])
  })

  test('is one trouble as long as tasks come and each finds the limit again, and where nobody says when it ends', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    await add(stage, 't1', 'w1')
    const say = async (state: 'parked' | 'probing', until: number | null): Promise<void> => {
      await stage.store.noteCondition(session, { state, why: 'usage limit', until })
    }
    for (let tries = 0; tries < 3; tries += 1) {
      const { epoch } = await take(stage, 'w1')
      const until = stage.clock.wall() + 25 * SECOND
      const result = { exitCode: 75, signal: null, tail: 'usage limit' }
      const returned = { task: 't1', epoch, state: 'returned', cause: 'parked', progress: null, result } as const
      await stage.store.report(session, returned)
      await say('parked', until)
      await stage.run(12 * MINUTE)
      await say('probing', until)
      await stage.run(LOOK)
    }
    assert.deepEqual(await stage.incidents(), ['parked:w1', 'task_stranded:any'])
    await stage.store.cancelTask('t1')
    await say('probing', null)
    await stage.run(15 * MINUTE)
    assert.deepEqual(await stage.open(), ['parked:w1'])
  })

  test('that its conversation ended makes it no better, nor that it has a new one of which it has said nothing yet', async () => {
    const { stage } = await fleet(2)
    await using _ = stage
    const { session } = stage.actor('w1')
    await stage.store.noteCondition(session, { state: 'sick', why: 'no folder', until: null })
    await stage.run(LOOK)
    await stage.store.endConversation(session.slice(0, -2))
    await stage.run(10 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['sick:w1'])
    await stage.rejoin('w1')
    await stage.run(10 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['sick:w1'], 'its host beats, and nobody knows how its place is')
    await stage.store.noteCondition(stage.actor('w1').session, { state: 'sick', why: 'no folder', until: null })
    await stage.run(5 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['sick:w1'])
    await stage.store.noteCondition(stage.actor('w1').session, null)
    await stage.run(LOOK)
    assert.deepEqual(await stage.incidents(), ['-sick:w1'])
  })

  test('that it came back well while no watchdog looked is seen by its work', async () => {
    const { stage, watchdog } = await fleet(2)
    await using _ = stage
    const { session } = stage.actor('w1')
    await stage.store.noteCondition(session, { state: 'sick', why: 'no folder', until: null })
    await stage.run(LOOK)
    await watchdog.stop()
    await stage.store.noteCondition(session, null)
    stage.watchdog({ config: CLOCKS })
    await stage.run(10 * MINUTE)
    assert.deepEqual(await stage.incidents(), ['sick:w1'])
    await add(stage, 't1', 'w1')
    await take(stage, 'w1')
    await stage.run(LOOK)
    assert.deepEqual(await stage.incidents(), ['-sick:w1'])
  })

  test('that nobody else can do its work is told once, however often the place tries whether it can again', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    await add(stage, 't1', 'w1')
    for (let probe = 0; probe < 4; probe += 1) {
      const { epoch } = await take(stage, 'w1')
      await stage.run(LOOK)
      const result = { exitCode: 75, signal: null, tail: 'the disk is read-only' }
      const returned = { task: 't1', epoch, state: 'returned', cause: 'sick', progress: null, result } as const
      await stage.store.report(session, returned)
      await stage.store.noteCondition(session, { state: 'sick', why: result.tail, until: null })
      await stage.run(5 * MINUTE)
      await stage.store.noteCondition(session, { state: 'probing', why: result.tail, until: null })
      await stage.run(LOOK)
    }
    assert.deepEqual(await stage.incidents(), ['sick:w1', 'task_stranded:any'])
    await take(stage, 'w1')
    await stage.store.noteCondition(session, null)
    await stage.run(LOOK)
    assert.deepEqual(await stage.incidents(), ['-sick:w1', '-task_stranded:any'])
  })

  test('a task that its command gives back where other work goes well waits longer each time, and is told of until it ends', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    await add(stage, 't1', 'w1')
    for (const pauseMs of [1, 2, 4, 8, 16, 30, 30].map((minutes) => minutes * MINUTE)) {
      const { epoch } = await take(stage, 'w1')
      const result = { exitCode: 75, signal: null, tail: 'no licence' }
      const returned = { task: 't1', epoch, state: 'returned', cause: 'not_now', progress: null, result } as const
      await stage.store.report(session, returned)
      await stage.run(pauseMs - SECOND)
      assert.equal((await stage.store.task('t1')).holder, null, 'nobody gets it while it may not begin')
      isWithin(await until(stage, async () => (await stage.holders()).t1 === 'w1', MINUTE), SECOND)
    }
    assert.deepEqual(await stage.incidents(), ['task_not_now:t1'])
    assert.match((await incident(stage, 'task_not_now:t1')).summary, /goes well at w1 \(its last word: no licence\)/)
    const { epoch } = await take(stage, 'w1')
    const result = { exitCode: 0, signal: null, tail: 'done' }
    await stage.store.report(session, { task: 't1', epoch, state: 'completed', progress: null, result })
    await stage.run(LOOK)
    assert.deepEqual(
      [await stage.incidents(), (await incident(stage, 'task_not_now:t1')).outcome],
      [['-task_not_now:t1'], 'task t1 has ended'],
    )
  })

  test('with no other that could, work waits, and after a minute people are told why', async () => {
    const { stage } = await fleet(1)
    await using _ = stage
    const { session } = stage.actor('w1')
    await stage.store.noteCondition(session, {
      state: 'parked',
      why: 'usage limit reached',
      until: Date.parse('2100-01-01T21:22:41Z'),
    })
    await add(stage, 't1', null)
    isWithin(await until(stage, async () => (await stage.open()).length === 2, 2 * MINUTE), MINUTE)
    assert.deepEqual([await stage.open(), (await stage.verdicts()).w1], [['parked:w1', 'task_stranded:any'], 'parked'])
    assert.match(
      (await incident(stage, 'task_stranded:any')).summary,
      /w1 may not work until 2100-01-01T21:23Z: usage limit reached/,
    )
    await stage.store.noteCondition(session, null)
    await stage.run(LOOK)
    assert.deepEqual([await stage.open(), await stage.holders()], [[], { t1: 'w1' }])
  })
})
