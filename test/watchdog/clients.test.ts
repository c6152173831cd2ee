/** What the clients of agents do: who is told, what stands still meanwhile, what is moved, and what is not. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { promptLine, promptLineAtTerminal } from '#fleet/prompt-name.ts'
import type { Task } from '#fleet/task.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { Stage } from './stage.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const CLOCKS: Partial<WatchConfig> = { takeWithinMs: 2 * MINUTE, stallAfterMs: 15 * MINUTE }

async function fleet(count = 2) {
  const stage = await Stage.open(count)
  const watchdog = stage.watchdog({ config: CLOCKS })
  await stage.run(20 * SECOND)
  return { stage, watchdog }
}

/** An agent takes a task by hand, and its keepalive renews the lease from then on; answers how to stop that. */
async function takeByHand(stage: Stage, agent: string, id: string, incarnation = `claude:${agent}`) {
  await stage.addTask(id, agent)
  const { session } = stage.actor(agent)
  const task = (await stage.store.leaseTask(session, incarnation)) as Task
  const renewing = new AbortController()
  void (async () => {
    while (!renewing.signal.aborted) {
      const report = { task: id, epoch: task.epoch, state: 'in_progress', progress: null, result: null } as const
      await stage.store.report(session, report).catch(() => renewing.abort())
      await stage.clock.sleep(20 * SECOND, renewing.signal).catch(() => undefined)
    }
  })()
  return renewing
}

async function shown(stage: Stage, agent: string) {
  const { verdicts } = await stage.store.verdicts()
  const found = verdicts.find((each) => each.agent === agent)
  return { verdict: found?.verdict, why: found?.why ?? null, client: found?.activity?.state ?? null }
}

async function told(stage: Stage, kind: string) {
  const all = await stage.store.incidents({ open: false })
  return all.filter((each) => each.kind === kind)
}

suite('what is shown', () => {
  test('working and idle are shown beside alive, and are no change of the verdict', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await stage.show('w1', 'working')
    await stage.run(4 * SECOND)
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'alive', why: null, client: 'working' })
    assert.deepEqual(await shown(stage, 'w2'), { verdict: 'alive', why: null, client: null })
    await stage.show('w1', 'idle')
    await stage.run(4 * SECOND)
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'alive', why: null, client: 'idle' })
    stage.silence('w1')
    await stage.run(20 * SECOND)
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'late', why: null, client: null })
  })
})

suite('a dialog', () => {
  test('people are told at once what it asks, once, again when it lasts, and when it is over', async () => {
    const { stage } = await fleet()
    await using _ = stage
    const asks = 'permission prompt: Bash npm publish'
    await stage.show('w1', 'waiting', asks)
    await stage.run(4 * SECOND)
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'waiting', why: asks, client: 'waiting' })
    const [incident] = await told(stage, 'waiting')
    assert.match(
      incident?.summary ?? '',
      /^w1 on host-w1 waits for a person: permission prompt: Bash npm publish; answer it there/,
    )
    await stage.run(70 * MINUTE)
    const [lasting, ...others] = await told(stage, 'waiting')
    assert.deepEqual([lasting?.closedAt, lasting?.retold, others.length], [null, 1, 0])
    await stage.show('w1', 'working')
    await stage.run(4 * SECOND)
    const [over] = await told(stage, 'waiting')
    assert.match(over?.outcome ?? '', /^w1 goes on after /)
    assert.equal((await shown(stage, 'w1')).verdict, 'alive')
  })

  test('one that can be answered from afar says by what, and is told once though later only its terminal answers it', async () => {
    const { stage } = await fleet()
    await using _ = stage
    const line = promptLine('0123456789ab', 'Bash: npm publish')
    await stage.show('w1', 'waiting', line)
    await stage.run(4 * SECOND)
    const [incident] = await told(stage, 'waiting')
    assert.match(incident?.summary ?? '', /answer it there, or by s2 answer w1 0123456789ab allow\|deny: until then/)
    await stage.show('w1', 'waiting', promptLineAtTerminal(line))
    await stage.run(4 * SECOND)
    await stage.show('w1', 'waiting', promptLine('ba9876543210', 'Bash: npm publish'))
    await stage.run(4 * SECOND)
    const [next, first, ...others] = (await told(stage, 'waiting')).toSorted((x, y) => y.id - x.id)
    assert.deepEqual(
      [next?.closedAt, first?.id, others.length],
      [null, incident?.id, 0],
      'the same asked again is another one',
    )
  })

  test('one that is answered at once is told to nobody, and another one is another incident', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await stage.run(1_000)
    await stage.show('w1', 'waiting', 'one')
    await stage.run(1_000)
    await stage.show('w1', 'working')
    await stage.run(30 * SECOND)
    assert.deepEqual(await told(stage, 'waiting'), [])
    await stage.show('w1', 'waiting', 'one')
    await stage.run(10 * SECOND)
    await stage.show('w1', 'waiting', 'two')
    await stage.run(10 * SECOND)
    const all = await told(stage, 'waiting')
    assert.equal(all.length, 2)
    assert.deepEqual(all.map(({ outcome }) => outcome).sort(), ['w1 asks for something else now', null].sort())
  })

  test('the clocks of its task stand still, new work goes to others, and a new watchdog opens nothing anew', async () => {
    const { stage, watchdog } = await fleet()
    await using _ = stage
    await takeByHand(stage, 'w1', 't1')
    await stage.addTask('t2', 'w1')
    await stage.show('w1', 'waiting', 'question')
    await stage.addTask('t3', null)
    await stage.run(10 * SECOND)
    assert.equal((await stage.holders()).t3, 'w2')
    await watchdog.stop()
    stage.watchdog({ config: CLOCKS })
    await stage.run(2 * 60 * MINUTE)
    const { t1 } = await stage.holders()
    assert.equal(t1, 'w1')
    assert.deepEqual((await told(stage, 'task_stalled')).length, 0)
    assert.equal((await told(stage, 'waiting')).length, 1)
    await stage.show('w1', 'idle')
    await stage.run(16 * MINUTE)
    assert.equal((await told(stage, 'task_stalled')).length, 1, 'the clock goes on when it is answered')
  })
})

suite('an end', () => {
  test('what it had in hand goes to another within two seconds, and people are told', async () => {
    const { stage } = await fleet()
    await using _ = stage
    const renewing = await takeByHand(stage, 'w1', 't1')
    await stage.show('w1', 'working')
    await stage.run(30 * SECOND)
    renewing.abort()
    await stage.show('w1', 'gone', 'claude (pid 4711) is there no more')
    await stage.run(2 * SECOND)
    assert.equal((await stage.holders()).t1, 'w2')
    const [incident] = await told(stage, 'client_gone')
    assert.match(
      incident?.summary ?? '',
      /^the client of w1 on host-w1 has ended with t1 in hand \(claude \(pid 4711\)/,
    )
    await stage.run(2 * SECOND)
    assert.deepEqual(await shown(stage, 'w1'), {
      verdict: 'gone',
      why: 'claude (pid 4711) is there no more',
      client: 'gone',
    })
    await stage.show('w1', 'idle')
    await stage.run(4 * SECOND)
    assert.equal((await shown(stage, 'w1')).verdict, 'alive')
    assert.match((await told(stage, 'client_gone'))[0]?.outcome ?? '', /^the client of w1 runs again after /)
  })

  test('one that is taken back within a second moves nothing', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await takeByHand(stage, 'w1', 't1')
    await stage.show('w1', 'gone')
    await stage.run(800)
    await stage.show('w1', 'working')
    await stage.run(MINUTE)
    assert.equal((await stage.holders()).t1, 'w1')
    assert.deepEqual(await told(stage, 'client_gone'), [])
  })

  test('what an s2 work does beside it, or somebody renews, stays', async () => {
    const { stage } = await fleet(3)
    await using _ = stage
    await takeByHand(stage, 'w1', 't1', 'work-0123456789abcdef')
    await takeByHand(stage, 'w2', 't2')
    await stage.run(15 * SECOND)
    await stage.show('w1', 'gone')
    await stage.run(5 * MINUTE)
    const { t1 } = await stage.holders()
    assert.equal(t1, 'w1')
    assert.deepEqual(await told(stage, 'client_gone'), [])
    assert.equal((await shown(stage, 'w1')).verdict, 'alive')
  })

  test('an end that was said before the watchdog began proves nothing until it is said again', async () => {
    const { stage, watchdog } = await fleet()
    await using _ = stage
    await watchdog.stop()
    const renewing = await takeByHand(stage, 'w1', 't1')
    renewing.abort()
    await stage.show('w1', 'gone')
    stage.silence('w1')
    stage.watchdog({ config: CLOCKS })
    await stage.run(8 * SECOND)
    assert.equal((await stage.holders()).t1, 'w1')
  })
})

suite('a client that may not work', () => {
  test('a limit has one incident, its assigned task goes to another, and when it ends it tries with one', async () => {
    const { stage } = await fleet()
    await using _ = stage
    const until = stage.clock.wall() + 30 * MINUTE
    await stage.show('w1', 'parked', 'usage limit', until)
    await stage.run(5 * SECOND)
    await stage.addTask('t1', 'w1')
    await stage.run(5 * SECOND)
    assert.equal((await stage.holders()).t1, 'w2')
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'parked', why: 'usage limit', client: 'parked' })
    await stage.store.noteCondition(stage.actor('w1').session, { state: 'parked', why: 'usage limit', until })
    await stage.run(20 * MINUTE)
    assert.equal((await told(stage, 'parked')).length, 1)
    await stage.store.noteCondition(stage.actor('w1').session, null)
    await stage.show('w1', 'working')
    await stage.run(5 * SECOND)
    const [over, ...others] = await told(stage, 'parked')
    assert.deepEqual([over?.outcome, others.length], ['w1 can work again', 0])
  })

  test('a task in hand is moved in time, and told of once', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await takeByHand(stage, 'w1', 't1')
    await stage.show('w1', 'parked', 'usage limit', stage.clock.wall() + 300 * MINUTE)
    await stage.run(29 * MINUTE)
    assert.equal((await stage.holders()).t1, 'w1')
    await stage.run(2 * MINUTE)
    assert.equal((await stage.holders()).t1, 'w2')
    assert.deepEqual([(await told(stage, 'task_stalled')).length, (await told(stage, 'parked')).length], [0, 1])
  })

  test('an overload is told of when it lasts', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await stage.show('w1', 'overloaded', '529')
    await stage.run(110 * SECOND)
    assert.deepEqual(await told(stage, 'parked'), [])
    assert.deepEqual(await shown(stage, 'w1'), { verdict: 'alive', why: null, client: 'overloaded' })
    await stage.run(20 * SECOND)
    assert.equal((await told(stage, 'parked')).length, 1)
  })

  test('an overload lasts no longer than its host says so', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await stage.show('w1', 'overloaded', '529')
    await stage.run(110 * SECOND)
    stage.silence('w1')
    await stage.run(5 * MINUTE)
    assert.deepEqual([(await told(stage, 'parked')).length, (await told(stage, 'silent')).length], [0, 1])
  })

  test('an overload that was the last word of a host is told of once, by two watchdogs of which one is new', async () => {
    const { stage } = await fleet()
    await using _ = stage
    stage.actor('w1').work = 1
    await stage.show('w1', 'overloaded', '529')
    await stage.run(130 * SECOND)
    stage.silence('w1')
    await stage.run(20 * SECOND)
    stage.watchdog({ config: CLOCKS })
    await stage.run(20 * MINUTE)
    assert.deepEqual(
      (await told(stage, 'parked')).map(({ closedAt }) => closedAt),
      [null],
    )
    stage.heal('w1')
    await stage.show('w1', 'working')
    await stage.run(20 * SECOND)
    assert.deepEqual(
      (await told(stage, 'parked')).map(({ outcome }) => outcome),
      ['w1 can work again'],
    )
  })
})

suite('a client that is stopped while its host beats', () => {
  test('is stalled in time, though its lease is renewed, and its task goes to another', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await takeByHand(stage, 'w1', 't1')
    await stage.show('w1', 'working')
    await stage.run(14 * MINUTE)
    assert.deepEqual(await told(stage, 'task_stalled'), [])
    await stage.run(2 * MINUTE)
    assert.match((await told(stage, 'task_stalled'))[0]?.summary ?? '', /its client is in the middle of a turn/)
    assert.equal((await shown(stage, 'w1')).verdict, 'stalled')
    await stage.run(15 * MINUTE)
    assert.equal((await stage.holders()).t1, 'w2')
  })

  test('one that shows signs is not, however long its turn lasts', async () => {
    const { stage } = await fleet()
    await using _ = stage
    await takeByHand(stage, 'w1', 't1')
    await stage.show('w1', 'working')
    for (let minutes = 0; minutes < 120; minutes += 10) {
      stage.actor('w1').work += 1
      await stage.run(10 * MINUTE)
    }
    assert.equal((await stage.holders()).t1, 'w1')
    assert.deepEqual(await told(stage, 'task_stalled'), [])
  })
})
