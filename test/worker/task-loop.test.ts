import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { SessionLocks } from '#spool/session-lock.ts'
import { S2Error } from '../../services/core/fleet/errors.ts'
import { sessionId } from '../../services/core/fleet/session-id.ts'
import { settle } from '../manual-clock.ts'
import { away, Bench, bench, LEASE_MS } from './loop-bench.ts'

test('tasks are done one at a time, the urgent one first, and --once ends when none is left', async () => {
  const b = await bench()
  await b.add('later')
  await b.add('sooner', 'P0')
  const { done } = b.start('life-1', true)
  await b.clock.advance(100)
  assert.deepEqual(
    b.commands.map(({ task }) => task),
    ['sooner'],
  )
  assert.equal((await b.store.task('sooner')).state, 'in_progress')
  b.command.exit(0, 'counted 12\n')
  await b.clock.advance(2_000)
  assert.equal((await b.store.task('sooner')).state, 'completed')
  assert.deepEqual((await b.store.task('sooner')).result, { exitCode: 0, signal: null, tail: 'counted 12\n' })
  assert.equal(b.command.task, 'later')
  b.command.exit(3, 'no such file\n')
  await b.clock.advance(2_000)
  await done
  assert.equal((await b.store.task('later')).state, 'failed')
})

test('while a command lives its lease is renewed, and its last line is told as progress, not more often than allowed', async () => {
  const b = await bench()
  await b.add('long')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const seqs = [(await b.store.task('long')).leaseSeq]
  for (let minute = 0; minute < 5; minute += 1) {
    await b.clock.advance(60_000)
    seqs.push((await b.store.task('long')).leaseSeq)
  }
  for (const [index, seq] of seqs.slice(1).entries()) {
    assert.ok(seq >= (seqs[index] ?? 0) + 2, `the lease stood still in minute ${index}: ${seqs}`)
  }
  const before = (await b.store.task('long')).leaseSeq
  for (let line = 0; line < 100; line += 1) {
    b.command.print(`line ${line}`)
    await b.clock.advance(100)
  }
  const { leaseSeq, progress } = await b.store.task('long')
  assert.ok(leaseSeq - before <= 5, `${leaseSeq - before} reports for 10 s of output`)
  assert.match(progress ?? '', /^line \d+$/)
  b.command.exit(0)
  await b.clock.advance(1_000)
  b.end()
  await done
})

test('a lease that cannot be renewed ends the command before it can end for anybody else', async () => {
  const b = await bench()
  await b.add('lonely')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const renewedAt = b.clock.now()
  b.fault = away
  const command = b.command
  let stoppedAt = Number.NaN
  for (let s = 0; s < 120 && Number.isNaN(stoppedAt); s += 1) {
    await b.clock.advance(1_000)
    if (command.stoppedWithin !== null) stoppedAt = b.clock.now()
  }
  const killedAt = stoppedAt + (command.stoppedWithin ?? Number.NaN)
  assert.ok(killedAt < renewedAt + LEASE_MS, `it may live ${killedAt - renewedAt - LEASE_MS} ms too long`)
  assert.ok(stoppedAt > renewedAt + LEASE_MS / 2, 'it was ended without need')
  assert.deepEqual(
    b.told('stopping').map((event) => 'why' in event && event.why),
    ['lease_unsure'],
  )
  assert.equal(b.outbox.length, 0, 'what became of it is not told: it may still be ours')

  // Back on the network, it takes the task up again, and every word of the first try is fenced off.
  b.fault = null
  await b.clock.advance(61_000)
  const task = await b.store.task('lonely')
  assert.equal(task.epoch, 2)
  assert.equal(b.commands.length, 2)
  b.command.exit(0)
  await b.clock.advance(2_000)
  assert.equal((await b.store.task('lonely')).state, 'completed')
  b.end()
  await done
})

test('a lease counts from when it was asked for, not from the answer', async () => {
  const b = await bench()
  await b.add('slow')
  const { done } = b.start('life-1')
  b.slowMs = 9_000
  await b.clock.advance(100_000)
  b.fault = away
  const command = b.command
  while (command.stoppedWithin === null) await b.clock.advance(100)
  const killedAt = b.clock.now() + command.stoppedWithin
  assert.ok(killedAt < b.renewalAskedAt + LEASE_MS, `${killedAt - b.renewalAskedAt - LEASE_MS} ms too long`)
  b.end()
  await b.clock.advance(20_000)
  await done
})

test('questions that are never answered are as good as none', async () => {
  const b = await bench()
  await b.add('mute')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.fault = () => new Promise<never>(() => undefined)
  await b.clock.advance(LEASE_MS)
  assert.notEqual(b.command.stoppedWithin, null)
  b.end()
  await b.clock.advance(0)
  await done
})

test('a passing trouble does not cost the task', async () => {
  const b = await bench()
  await b.add('bumpy')
  const { done } = b.start('life-1')
  for (let minute = 0; minute < 10; minute += 1) {
    b.fault = away
    await b.clock.advance(35_000)
    b.fault = null
    await b.clock.advance(25_000)
  }
  assert.equal(b.command.stoppedWithin, null)
  b.command.exit(0)
  await b.clock.advance(2_000)
  assert.equal((await b.store.task('bumpy')).epoch, 1)
  assert.equal((await b.store.task('bumpy')).state, 'completed')
  b.end()
  await done
})

test('after an absence of the bridge an assignment is taken up at once, whatever pause the failures had earned', async () => {
  const b = await bench()
  b.fault = away
  const { done } = b.start('life-1')
  await b.clock.advance(300_000)
  assert.equal(b.told('trouble').length, 1, 'a trouble that lasts is told once')
  b.fault = null
  await b.add('urgent')
  b.assigned = ['urgent']
  b.heard()
  await b.clock.advance(10)
  assert.equal((await b.store.task('urgent')).state, 'in_progress')
  b.command.exit(0)
  await b.clock.advance(2_000)
  b.end()
  await done
})

test('a bridge that hangs is one trouble, and is asked less and less often', async () => {
  const b = await bench()
  let asked = 0
  b.fault = async () => {
    asked += 1
    await b.clock.sleep(12_000)
    throw new S2Error('unavailable', 'no answer')
  }
  const { done } = b.start('life-1')
  await b.clock.advance(600_000)
  assert.equal(b.told('trouble').length, 1)
  assert.ok(asked < 30, `it was asked ${asked} times`)
  b.end()
  await done
})

test('a task that is moved is let go as soon as its letter comes, and the late result is kept as evidence', async () => {
  const b = await bench()
  await b.add('moved')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.command.onTerm = { exitCode: 0, signal: null, tail: 'done all the same' }
  await b.move('moved')
  b.revoked = [{ task: 'moved', epoch: null, reason: 'you were not heard for too long' }]
  b.heard()
  await b.clock.advance(1_000)
  assert.notEqual(b.command.stoppedWithin, null, 'it goes on though it was told')
  assert.deepEqual(
    b.told('stopping').map((event) => 'why' in event && event.why),
    ['lease_lost'],
  )
  const [refused, ...others] = b.told('refused')
  assert.deepEqual([refused && 'then' in refused && refused.then, others.length], ['expected', 0])
  const [late] = (await b.store.evidence('moved')).filter(({ report }) => report.state === 'completed')
  assert.equal(late?.report.result?.tail, 'done all the same')
  assert.equal((await b.store.task('moved')).state, 'assigned', 'the late result had an effect')
  b.end()
  await done
})

test('a stop order that is meant for an earlier life of the holder does not reach its successor', async () => {
  const b = await bench()
  await b.add('again')
  await b.store.leaseTask(b.worker, 'life-1')
  const { done } = b.start('life-2')
  await b.clock.advance(10)
  assert.equal((await b.store.task('again')).epoch, 2)
  const words = b.words.length
  b.revoked = [{ task: 'again', epoch: 1, reason: 'you were not heard for too long' }]
  b.heard()
  await b.clock.advance(1_000)
  assert.equal(b.words.length, words, 'the store was asked for nothing')
  b.revoked = [{ task: 'again', epoch: 2, reason: 'it was withdrawn' }]
  b.heard()
  await b.clock.advance(1_000)
  assert.ok(b.words.length > words, 'an order for itself has its lease checked at once')
  assert.equal(b.told('stopping').length, 0, 'and the store says that it holds it still')
  b.end()
  await done
})

test('a lease that was renewed in time and is said to have lapsed names the setting that is too long', async () => {
  const b = await bench()
  await b.add('quiet')
  const { done } = b.start('life-1')
  await b.clock.advance(10_000)
  await b.move('quiet')
  b.revoked = [{ task: 'quiet', epoch: null, reason: 'you did not renew your lease on it' }]
  b.heard()
  await b.clock.advance(1_000)
  const [stopping] = b.told('stopping')
  assert.match(
    String(stopping && 'reason' in stopping && stopping.reason),
    /S2_LEASE is 1m here, and must not be longer/,
  )
  b.end()
  await done
})

test('after a pause the lease is verified before the result is told', async () => {
  const b = await bench()
  await b.add('frozen')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const command = b.command
  b.words.length = 0
  // All stands still; meanwhile the watchdog moves the task. The command's end is the first thing the agent hears.
  await b.move('frozen')
  command.exit(0, 'finished in ignorance')
  b.clock.pause(300_000)
  await b.clock.advance(2_000)
  assert.deepEqual(b.words.slice(0, 2), ['in_progress', 'completed'])
  assert.equal(b.told('refused').length, 1)
  assert.equal(b.told('reported').length, 0)
  assert.equal((await b.store.task('frozen')).state, 'assigned')
  assert.ok((await b.store.evidence('frozen')).some((each) => each.report.result?.tail === 'finished in ignorance'))
  b.end()
  await done
})

test('a machine that was suspended asks before it believes its lease, though its monotonic clock stood still', async () => {
  const b = await bench()
  await b.add('asleep')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  await b.move('asleep')
  b.clock.step(600_000)
  b.words.length = 0
  b.command.exit(0, 'slept')
  await settle()
  assert.deepEqual(b.words.slice(0, 2), ['in_progress', 'completed'])
  assert.equal(b.told('refused').length, 1)
  b.end()
  await b.clock.advance(0)
  await done
})

test('an end that waits to be carried is not done a second time, also by the next life', async () => {
  const b = await bench()
  await b.add('carried-later')
  b.carries = false
  const first = b.start('life-1')
  await b.clock.advance(10)
  b.command.exit(0)
  await b.clock.advance(5_000)
  b.end()
  await b.clock.advance(0)
  await first.done

  const next = new Bench()
  Object.assign(next, { clock: b.clock, store: b.store, outbox: b.outbox, worker: b.worker, carries: false })
  const second = next.start('life-2')
  await b.clock.advance(120_000)
  assert.equal(next.commands.length, 0, 'it does again what is done')
  assert.equal(next.told('idle').length, 1)
  next.carries = true
  await next.carry()
  await b.clock.advance(120_000)
  assert.equal((await b.store.task('carried-later')).state, 'completed')
  assert.equal((await b.store.task('carried-later')).epoch, 1)
  next.end()
  await b.clock.advance(0)
  await second.done
})

test('until its end has been carried a task stays leased', async () => {
  const b = await bench()
  await b.add('slow-post')
  b.carries = false
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const { leaseSeq } = await b.store.task('slow-post')
  b.command.exit(0)
  await b.clock.advance(LEASE_MS * 3)
  assert.ok((await b.store.task('slow-post')).leaseSeq >= leaseSeq + 6)
  b.carries = true
  await b.carry()
  await b.clock.advance(2_000)
  assert.equal(b.told('reported').length, 1)
  b.end()
  await b.clock.advance(0)
  await done
})

test('being told to end is patient first, and takes the task in hand along the second time', async () => {
  const b = await bench()
  await b.add('first')
  await b.add('second')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.draining.abort()
  await b.clock.advance(60_000)
  assert.equal(b.command.stoppedWithin, null)
  b.stopping.abort()
  await b.clock.advance(1_000)
  await done
  assert.notEqual(b.command.stoppedWithin, null)
  assert.equal(b.commands.length, 1, 'it took another task')
  assert.equal(b.outbox.length, 0, 'a task that was given up is not failed')
  assert.equal((await b.store.task('first')).state, 'in_progress')
})

test('a full disk does not cost what was done', async () => {
  const b = await bench()
  await b.add('heavy')
  const { done } = b.start('life-1', true)
  await b.clock.advance(10)
  b.full = true
  b.command.exit(0, 'done')
  await b.clock.advance(180_000)
  assert.equal(b.told('trouble').length, 1)
  assert.equal((await b.store.task('heavy')).epoch, 1)
  b.full = false
  await b.clock.advance(60_000)
  await done
  assert.equal((await b.store.task('heavy')).state, 'completed')
  assert.equal(b.commands.length, 1)
})

test('a session that is refused does not keep the others from working', async () => {
  const b = await bench()
  await b.add('good')
  b.extra = [
    {
      session: 'conv_ended/b',
      store: {
        leaseTask: () => Promise.reject(new S2Error('expired', 'its conversation has ended')),
        report: () => Promise.reject(new S2Error('expired', 'its conversation has ended')),
        noteCondition: () => Promise.reject(new S2Error('expired', 'its conversation has ended')),
      },
    },
  ]
  const { done } = b.start('life-1', true)
  await b.clock.advance(10)
  b.command.exit(0)
  await b.clock.advance(2_000)
  await done
  assert.equal((await b.store.task('good')).state, 'completed')
})

test('what keeps a session from work is told, also where another place speaks for a second one', async () => {
  const b = await bench()
  const spokenFor = () => Promise.reject(new S2Error('conflict', 'another host speaks for conv_twin/b'))
  b.extra = [
    {
      session: 'conv_twin/b',
      store: { leaseTask: spokenFor, report: spokenFor, noteCondition: async () => undefined },
    },
  ]
  b.fault = away
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const troubles = b.told('trouble').map((event) => ('what' in event ? event.what : ''))
  assert.deepEqual(troubles.sort(), ['asking for work', 'no work is taken for conv_twin/b'])
  b.end()
  await b.clock.advance(0)
  await done
})

test('a command that cannot be started fails its task with the reason', async () => {
  const b = await bench()
  await b.add('impossible')
  const { done } = b.start('life-1', true)
  await settle()
  b.command.refuse(new Error('spawn ENOENT'))
  await b.clock.advance(2_000)
  await done
  const { state, result } = await b.store.task('impossible')
  assert.equal(state, 'failed')
  assert.match(result?.tail ?? '', /could not be started: spawn ENOENT/)
  const why = 'the command could not be started: spawn ENOENT'
  assert.deepEqual(b.told('ended'), [
    { event: 'ended', task: 'impossible', epoch: 1, exitCode: null, signal: null, why },
  ])
})

test('one agent of a host works for a session, however often it is asked, and another when that one has ended', async () => {
  const state = mkdtempSync(join(tmpdir(), 's2-claims-'))
  try {
    const session = sessionId('conv_0123456789abcdef', 'b')
    await using second = new SessionLocks(state)
    {
      await using first = new SessionLocks(state)
      assert.deepEqual(await Promise.all([first.hold(session), first.hold(session)]), [true, true])
      assert.equal(await second.hold(session), false)
      assert.equal(await second.hold(sessionId('conv_0123456789abcdee', 'b')), true, 'another session is free')
    }
    assert.equal(await second.hold(session), true)

    // A program that was killed leaves its socket behind.
    const left = join(state, 'run', 'work-conv_0123456789abcded-b.sock')
    spawnSync(process.execPath, [
      '-e',
      `net.createServer().listen(${JSON.stringify(left)}, () => process.kill(process.pid, 9))`,
    ])
    assert.ok(existsSync(left))
    assert.equal(await second.hold(sessionId('conv_0123456789abcded', 'b')), true)
  } finally {
    rmSync(state, { recursive: true })
  }
})

test('what a client used is told with its progress, and at the end whatever that is', async () => {
  const b = await bench()
  await b.add('dear')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  const usage = { inputTokens: 100, outputTokens: 5, cachedTokens: 0, costUsd: 0.1, turns: 0 }
  b.command.usage = usage
  b.command.print('half of it')
  await b.clock.advance(10_000)
  assert.deepEqual((await b.store.task('dear')).usage, usage)
  b.command.usage = { ...usage, costUsd: 0.3, turns: 1 }
  b.command.exit(1, 'no way')
  await b.clock.advance(2_000)
  const { state, usage: all } = await b.store.task('dear')
  assert.deepEqual([state, all?.costUsd], ['failed', 0.3])
  b.end()
  await done
})

test('a bridge that knows no usage gets reports without it', async () => {
  const b = await bench()
  await b.add('old')
  const { done } = b.start('life-1')
  b.fault = null
  await b.clock.advance(10)
  const strict = b.store.report.bind(b.store)
  b.store.report = async (holder, report) => {
    if (report.usage !== undefined) throw new S2Error('invalid', 'report.usage is not known')
    return await strict(holder, report)
  }
  b.command.usage = { inputTokens: 1, outputTokens: 1, cachedTokens: 0, costUsd: null, turns: 1 }
  b.command.print('half of it')
  await b.clock.advance(LEASE_MS * 2)
  assert.equal(b.command.stoppedWithin, null, 'the lease is renewed all the same')
  b.command.exit(0, 'done')
  await b.clock.advance(5_000)
  assert.equal((await b.store.task('old')).state, 'completed')
  b.end()
  await done
})

test('what an agent says of its task itself counts, whatever becomes of its process, and its line stands', async () => {
  for (const [state, exitCode] of [
    ['completed', 0],
    ['failed', 1],
  ] as const) {
    const b = await bench()
    await b.add('said')
    const { done } = b.start('life-1', true)
    await b.clock.advance(10)
    b.command.usage = { inputTokens: 7, outputTokens: 1, cachedTokens: 0, costUsd: null, turns: 1 }
    b.command.print('a line of output')
    await b.clock.advance(6_000)
    const { work } = await b.store.task('said')
    b.say({ progress: '40% · half of it' })
    await b.clock.advance(6_000)
    const told = await b.store.task('said')
    assert.deepEqual([told.progress, told.work > work], ['40% · half of it', true])
    b.command.print('another line of output')
    await b.clock.advance(30_000)
    assert.equal((await b.store.task('said')).progress, '40% · half of it')
    b.say({ progress: '40% · half of it', end: { state, words: 'as I say' } })
    await b.clock.advance(1_000)
    assert.equal((await b.store.task('said')).state, 'in_progress', 'the turn is let finish')
    b.command.exit(1 - exitCode, 'its last message')
    await b.clock.advance(2_000)
    await done
    const task = await b.store.task('said')
    assert.deepEqual([task.state, task.result?.tail, task.usage?.inputTokens], [state, 'as I say', 7])
  }
})

test('an agent that goes on for long after it ended its task is ended, and its word counts', async () => {
  const b = await bench()
  await b.add('said')
  const { done } = b.start('life-1', true)
  await b.clock.advance(10)
  b.say({ end: { state: 'completed', words: 'merged' } })
  await b.clock.advance(290_000)
  assert.equal(b.command.stoppedWithin, null)
  await b.clock.advance(15_000)
  assert.notEqual(b.command.stoppedWithin, null)
  await done
  const { state, epoch, result } = await b.store.task('said')
  assert.deepEqual([state, epoch, result?.tail], ['completed', 1, 'merged'])
})

test('a task that its agent has ended is not begun again when the program is told to stop', async () => {
  const b = await bench()
  await b.add('said')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  b.say({ end: { state: 'completed', words: 'merged' } })
  b.end()
  await b.clock.advance(1_000)
  await done
  assert.deepEqual([(await b.store.task('said')).state, b.outbox.length], ['completed', 1])
})

test('a task that an agent ended and a former run did not report is reported before any is asked for', async () => {
  const b = await bench()
  await b.add('said')
  await b.store.leaseTask(b.worker, 'life-0', [])
  const end = { state: 'completed', words: 'merged' } as const
  b.left = [{ session: b.worker, task: 'said', epoch: 1, count: 1, progress: null, end }]
  const { done } = b.start('life-1', true)
  await b.clock.advance(2_000)
  await done
  const { state, epoch, result } = await b.store.task('said')
  assert.deepEqual([state, epoch, result?.tail, b.commands.length, b.left], ['completed', 1, 'merged', 0, []])
})

test('what is said of a task that was taken away is refused, and kept as evidence', async () => {
  const b = await bench()
  await b.add('said')
  const { done } = b.start('life-1')
  await b.clock.advance(10)
  await b.move('said')
  b.say({ end: { state: 'completed', words: 'merged too late' } })
  await b.clock.advance(60_000)
  const late = await b.store.evidence('said')
  assert.deepEqual(
    late.flatMap(({ report }) => report.result?.tail ?? []),
    ['merged too late'],
  )
  assert.equal((await b.store.task('said')).holder, b.other)
  b.end()
  await b.clock.advance(1_000)
  await done
})
