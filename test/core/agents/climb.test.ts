import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import { PassingRefusal, type WakeAdapter } from '#agents/wake/adapter.ts'
import { climb, type WakeLook } from '#agents/wake/climb.ts'
import type { Rung } from '#fleet/wake-ladder.ts'
import { wakesIn, wakeText } from '#fleet/wake-text.ts'
import { ManualClock } from '../../manual-clock.ts'
import { sampleSession } from './sample-session.ts'

type Behaviour = 'sends' | 'reads' | 'fails' | 'hangs' | { readonly not: string } | { passes: boolean }

/** A climb over rungs that behave as the test says, with a session that the test changes. */
function scene(
  rungs: Partial<Record<Rung, Behaviour>>,
  worked: Rung | null = null,
  onSend: () => Promise<void> = async () => undefined,
  first: Partial<WakeLook> = {},
) {
  const clock = new ManualClock()
  const abort = new AbortController()
  const at = {
    session: sampleSession({ heardAt: clock.wall() }) as ClientSession | null,
    isTaken: false,
    goesOn: false,
    place: { [Symbol.dispose]: () => undefined } as Disposable | null,
    ...first,
  }
  const waits: string[] = []
  const texts: { rung: Rung; text: string; after: number }[] = []
  const began = clock.now()
  const adapters = Object.entries(rungs).map(([rung, behaviour]): WakeAdapter => {
    return {
      rung: rung as Rung,
      timeoutMs: 5_000,
      whyNot: async () => {
        if (typeof behaviour === 'string') return null
        if ('not' in behaviour) return behaviour.not
        if (behaviour.passes) return null
        throw new PassingRefusal('a draft stands there')
      },
      wake: async (_session, text) => {
        texts.push({ rung: rung as Rung, text, after: clock.now() - began })
        if (behaviour === 'fails') throw new Error('refused')
        if (behaviour === 'hangs') await new Promise(() => undefined)
        return behaviour === 'reads' ? 'read' : 'sent'
      },
    }
  })
  let made = 0
  const end = climb(
    {
      clock,
      adapters,
      worked: () => worked,
      sent: () => [],
      takePlace: () => at.place,
      look: async () => ({ ...at }),
      newId: () => {
        made += 1
        return String(made).padStart(12, '0')
      },
      text: (id) => wakeText(id, { from: ['conv_aa/a'], messages: 1, assigned: [], task: null }),
      onSend,
      onWait: (what) => void waits.push(what),
    },
    abort.signal,
  )
  end.catch(() => undefined)
  const reads = (id: string): void => {
    at.session = { ...(at.session ?? sampleSession()), wakesRead: [id] }
  }
  return { clock, at, texts, waits, end, reads, abort }
}

test('what was sent and is not read within 30 seconds is followed by the next rung, under a name of its own', async () => {
  const { clock, texts, end, reads } = scene({ inbox_socket: 'sends', tmux: 'sends' })
  await clock.advance(29_900)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['inbox_socket'],
  )
  await clock.advance(1_000)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['inbox_socket', 'tmux'],
  )
  assert.match(texts[1]?.text ?? '', /^S2 wake 000000000002: 1 unread message from conv_aa\/a\./)
  reads('000000000002')
  await clock.advance(1_000)
  const { rung, isRead } = await end
  assert.deepEqual({ rung, isRead }, { rung: 'tmux', isRead: true })
})

test('a text that is read late counts for the rung that sent it', async () => {
  const { clock, end, reads } = scene({ inbox_socket: 'sends', tmux: 'sends' })
  await clock.advance(31_000)
  reads('000000000001')
  await clock.advance(1_000)
  assert.equal((await end).rung, 'inbox_socket')
})

test('a rung that cannot be tried, fails or hangs costs no waiting for a proof', async () => {
  const { clock, texts, end } = scene({
    inbox_socket: { not: 'no socket' },
    rewake: 'fails',
    app_server: 'hangs',
    tmux: 'reads',
  })
  await clock.advance(6_000)
  assert.deepEqual(
    texts.map(({ rung, after }) => [rung, Math.round(after / 1_000)]),
    [
      ['rewake', 0],
      ['app_server', 0],
      ['tmux', 5],
    ],
  )
  const { rung, tries } = await end
  assert.equal(rung, 'tmux')
  assert.deepEqual(
    tries.map(({ refusal }) => refusal),
    ['no socket', 'refused', 'no answer within 5 s', null],
  )
})

test('mail that is taken meanwhile proves it', async () => {
  const { clock, at, end } = scene({ inbox_socket: 'sends' })
  await clock.advance(2_000)
  at.isTaken = true
  await clock.advance(1_000)
  const { rung, isRead } = await end
  assert.deepEqual({ rung, isRead }, { rung: 'inbox_socket', isRead: true })
})

test('where nothing is read, all that was tried is named', async () => {
  const { clock, end } = scene({ inbox_socket: 'sends', tmux: { not: 'a draft' } })
  await clock.advance(40_000)
  const { rung, isRead, tries } = await end
  assert.deepEqual({ rung, isRead }, { rung: null, isRead: false })
  assert.deepEqual(
    tries.map((each) => [each.rung, each.refusal]),
    [
      ['inbox_socket', null],
      ['tmux', 'a draft'],
    ],
  )
})

test('a draft that is sent away within five minutes costs the wake no rung', async () => {
  const draft = { passes: false }
  const { clock, texts, reads, end } = scene({ inbox_socket: { not: 'no socket' }, tmux: draft })
  await clock.advance(200_000)
  assert.equal(texts.length, 0)
  draft.passes = true
  await clock.advance(16_000)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['tmux'],
  )
  reads(wakesIn(texts[0]?.text ?? '')[0] ?? '')
  await clock.advance(1_000)
  assert.equal((await end).rung, 'tmux')
})

test('a draft that stays is an end like another', async () => {
  const { clock, texts, end } = scene({ tmux: { passes: false } })
  await clock.advance(301_000)
  assert.deepEqual([(await end).isRead, texts.length], [false, 0])
})

test('a wake that is sent waits for no disk, and its rung counts once it is noted there too', async () => {
  const disk = Promise.withResolvers<void>()
  const { clock, texts, end } = scene({ inbox_socket: 'reads' }, null, () => disk.promise)
  await clock.advance(100)
  assert.equal(texts.length, 1)
  let hasEnded = false
  void end.then(() => {
    hasEnded = true
  })
  await clock.advance(1_000)
  assert.ok(!hasEnded)
  disk.resolve()
  await clock.advance(1_000)
  assert.equal((await end).isRead, true)
})

test('what is sent begins before the note of it, which may take the event loop', async () => {
  const order: string[] = []
  const { clock, texts } = scene({ inbox_socket: 'sends' }, null, async () => void order.push(`${texts.length} sent`))
  await clock.advance(100)
  assert.deepEqual(order, ['1 sent'])
})

test('the rung that worked before comes first', async () => {
  const { clock, texts } = scene({ inbox_socket: 'sends', tmux: 'reads' }, 'tmux')
  await clock.advance(1_000)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['tmux'],
  )
})

test('nothing is sent into a dialog that opens between two rungs', async () => {
  const { clock, at, texts, waits } = scene({ inbox_socket: 'sends', tmux: 'sends' })
  await clock.advance(10_000)
  at.session = sampleSession({
    activity: { state: 'waiting', what: 'permission prompt', until: null },
    heardAt: clock.wall(),
  })
  await clock.advance(60_000)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['inbox_socket'],
  )
  assert.deepEqual([...new Set(waits)], ['person'])
  at.session = sampleSession({ heardAt: clock.wall() })
  await clock.advance(1_000)
  assert.deepEqual(
    texts.map(({ rung }) => rung),
    ['inbox_socket', 'tmux'],
  )
})

test('another session of the agent gets each rung anew', async () => {
  const { clock, at, texts } = scene({ inbox_socket: 'sends' })
  await clock.advance(10_000)
  at.session = sampleSession({ id: 'another-one', heardAt: clock.wall() })
  await clock.advance(1_000)
  assert.equal(texts.length, 2)
})

test('a client that goes on by itself is sent nothing more, and may still read what was sent', async () => {
  const { clock, at, texts, end } = scene({ inbox_socket: 'sends', tmux: 'sends' })
  await clock.advance(5_000)
  at.goesOn = true
  await clock.advance(60_000)
  const { rung, isRead } = await end
  assert.deepEqual([rung, isRead, texts.length], [null, true, 1])
  const read = scene({ inbox_socket: 'sends', tmux: 'sends' })
  await read.clock.advance(5_000)
  read.at.goesOn = true
  await read.clock.advance(5_000)
  read.reads('000000000001')
  await read.clock.advance(1_000)
  assert.equal((await read.end).rung, 'inbox_socket')
})

test('while others have all places nothing is sent, and what is seen after that decides', async () => {
  const { clock, at, texts, end } = scene({ inbox_socket: 'sends' })
  at.place = null
  await clock.advance(60_000)
  assert.equal(texts.length, 0)
  at.isTaken = true
  at.place = { [Symbol.dispose]: () => undefined }
  await clock.advance(1_000)
  assert.deepEqual([(await end).tries.length, texts.length], [0, 0])
})

test('it ends with the program', async () => {
  const { clock, abort, end } = scene({ inbox_socket: 'sends' })
  await clock.advance(1_000)
  abort.abort(new Error('the program ends'))
  await clock.advance(1_000)
  await assert.rejects(end, /the program ends/)
})

test('a text of a wake holds names and figures, whatever names are made of', () => {
  const text = wakeText('0123456789ab', {
    from: ['conv_a/a', 'x\u001b[31m; rm -rf "$HOME"\n--settings'],
    messages: 2,
    assigned: ['t-1', 't-1', '$(t)-2'],
    task: 'a b`c`',
  })
  assert.equal(
    text,
    'S2 wake 0123456789ab: 2 unread messages from conv_a/a, x31mrm-rfHOME--settings. Assigned by them: t-1, t-2. ' +
      'Task abc is open. The MCP tool check_messages or the command "s2 check" reads messages; ' +
      'take_task or "s2 task take" begins a task.',
  )
})

test('a client at work is sent nothing until its turn has been silent for long', async () => {
  const heardAt = new ManualClock().wall()
  const session = sampleSession({ activity: { state: 'working', what: null, until: null }, heardAt })
  const { clock, texts, waits } = scene({ inbox_socket: 'sends' }, null, undefined, { session })
  await clock.advance(599_000)
  assert.deepEqual([texts.length, [...new Set(waits)]], [0, ['turn']])
  await clock.advance(2_000)
  assert.equal(texts.length, 1)
})

test('a proof says by which way and how long after it was sent', async () => {
  const { clock, end, reads } = scene({ inbox_socket: { not: 'no socket' }, tmux: 'sends' })
  await clock.advance(2_000)
  reads('000000000002')
  await clock.advance(250)
  const { rung, readMs } = await end
  assert.equal(rung, 'tmux')
  assert.ok(readMs !== null && readMs >= 2_000 && readMs <= 2_500, String(readMs))
})

test('mail that was taken before anything was sent was taken without a wake', async () => {
  const { end, texts } = scene({ inbox_socket: 'sends' }, null, undefined, { isTaken: true })
  const { rung, isRead, readMs } = await end
  assert.deepEqual([rung, isRead, readMs, texts.length], [null, true, null, 0])
})

test('a wake that the program ends while it is sent is no try that failed', async () => {
  const { clock, end, abort } = scene({ inbox_socket: 'hangs', tmux: 'reads' })
  await clock.advance(1_000)
  abort.abort(new Error('the program ends'))
  await clock.advance(6_000)
  await assert.rejects(end, /the program ends/)
})
