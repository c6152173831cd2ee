/** The promise of `Store` about files that agents reserve, part of the suite for every backend. */
import assert from 'node:assert/strict'
import { S2Error } from '#fleet/errors.ts'
import { GLOBS_MAX, HELD_MAX, type NewReservation, type Reservation } from '#fleet/reservation.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import type { MovableClock } from '../../movable-clock.ts'

interface End {
  readonly session: SessionId
  readonly store: Store
}

export interface ReservationsFleet {
  readonly store: Store
  readonly clock: MovableClock
  channel(
    worker?: string,
    role?: string,
    lead?: string,
  ): Promise<{ readonly id: string; readonly a: End; readonly b: End }>
  task(fields: Partial<NewTask>): Promise<Task>
}

export type ProveReservations = (
  title: string,
  body: (fleet: ReservationsFleet) => Promise<void>,
  ...needs: (keyof Store)[]
) => void

const HOUR_MS = 3_600_000
const REPOSITORY = ['example.org/team/app', `root:${'a'.repeat(40)}`]

function wish(globs: readonly string[], fields: Partial<NewReservation> = {}): NewReservation {
  const rest = { mode: 'exclusive', forMs: HOUR_MS / 2, task: null, epoch: null, note: null } as const
  return { repository: REPOSITORY, globs, ...rest, ...fields }
}

function reserve(
  { session, store }: End,
  globs: readonly string[],
  fields?: Partial<NewReservation>,
): Promise<Reservation[]> {
  return store.reserveFiles(session, wish(globs, fields))
}

async function refusalOf(code: S2Error['code'], asked: Promise<unknown>): Promise<string> {
  const error: unknown = await asked.then(
    () => 'it was let in',
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof S2Error && error.code === code, String(error))
  return error.message
}

async function held(store: Store): Promise<string[]> {
  return (await store.reservations()).map(({ agent, glob }) => `${agent} ${glob}`).sort()
}

export function proveReservations(prove: ProveReservations): void {
  proveHolding(prove)
  proveEnding(prove)
  proveReleasing(prove)
  proveTelling(prove)
}

function proveHolding(prove: ProveReservations): void {
  prove('files are reserved, and everybody sees by whom, for what and until when', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    const made = await reserve(one.b, ['./src//store', 'docs/plan.md'], { note: 'the new table' })
    const [{ since } = assert.fail('nothing was reserved')] = made
    assert.ok(Math.abs(since - fleet.clock.wall()) < 60_000)
    const common = { agent: 's2-worker-1', repository: REPOSITORY, mode: 'exclusive', task: null, epoch: null }
    const rest = { ...common, note: 'the new table', since, until: since + HOUR_MS / 2 }
    const wanted = [
      { ...rest, glob: 'src/store' },
      { ...rest, glob: 'docs/plan.md' },
    ]
    assert.deepEqual(made, wanted)
    const seen = await other.b.store.reservations()
    assert.deepEqual(new Set(seen.map(({ glob }) => glob)), new Set(['src/store', 'docs/plan.md']))
    for (const each of seen) assert.deepEqual(each, { ...rest, glob: each.glob })
  })

  prove('what another has is refused with its holder, and nothing of the request is done', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/store/'], { note: 'the new table' })
    const refusal = await refusalOf('conflict', reserve(other.b, ['docs/', 'src/**/*.ts']))
    assert.match(refusal, /s2-worker-1 has "src\/store\/\*\*" until \d{4}-\d\d-\d\d \d\d:\d\d UTC, 30 min from now/)
    assert.match(refusal, /the new table/)
    assert.deepEqual(await held(fleet.store), ['s2-worker-1 src/store/**'])
  })

  prove('clones that have one name in common are one repository, and others are not', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'])
    await reserve(other.b, ['src/'], { repository: ['example.org/other/app'] })
    await refusalOf('conflict', reserve(other.b, ['src/'], { repository: ['elsewhere', 'Example.org/Team/App'] }))
  })

  prove('shared files are shared by many, and had alone by none', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'], { mode: 'shared' })
    await reserve(other.b, ['src/a.ts'], { mode: 'shared' })
    assert.match(await refusalOf('conflict', reserve(other.b, ['src/a.ts'])), /s2-worker-1 shares/)
    await other.b.store.releaseFiles(other.b.session, { repository: null, globs: null })
    await reserve(one.b, ['src/'])
    await refusalOf('conflict', reserve(other.b, ['src/a.ts'], { mode: 'shared' }))
  })

  prove('the same again is one reservation, and lasts longer, never shorter', async (fleet) => {
    const { b } = await fleet.channel()
    const [first] = await reserve(b, ['src/', 'src'])
    fleet.clock.pass(60_000)
    const [second] = await reserve(b, ['src/'])
    assert.equal(second?.since, first?.since)
    assert.ok((second?.until ?? 0) >= (first?.until ?? 0) + 60_000)
    const [third] = await reserve(b, ['src/'], { forMs: 1_000, repository: [...REPOSITORY, 'another name'] })
    assert.equal(third?.until, second?.until)
    assert.deepEqual(await held(fleet.store), ['s2-worker-1 src', 's2-worker-1 src/**'])
  })

  prove('of two that ask at one moment one gets the files', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    for (let round = 0; round < 10; round += 1) {
      const asked = [reserve(one.b, [`r${round}/a.ts`, 'x.ts']), reserve(other.b, ['x.ts', `r${round}/`])]
      const answers = await Promise.allSettled(asked)
      assert.deepEqual(answers.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
      assert.equal(new Set((await fleet.store.reservations()).map(({ agent }) => agent)).size, 1)
      for (const { b } of [one, other]) await b.store.releaseFiles(b.session, { repository: null, globs: null })
    }
  })

  prove('all sessions of one agent are one holder', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.a, ['src/'])
    await reserve(other.a, ['src/store/'])
    await refusalOf('conflict', reserve(other.b, ['src/store/a.ts']))
  })

  prove('two fleets that share a store never hear of each other', async (fleet) => {
    const [one, other] = [
      await fleet.channel('s2-worker-1'),
      await fleet.channel('s2-worker-1', 'tests', 'another lead'),
    ]
    await reserve(one.b, ['src/'])
    await reserve(other.b, ['src/'])
    assert.equal((await other.b.store.reservations(other.b.session)).length, 1)
    await other.b.store.releaseFiles(other.b.session, { repository: null, globs: null })
    assert.equal((await fleet.store.reservations()).length, 1)
  })

  prove('what nobody could keep or understand is refused', async (fleet) => {
    const { b } = await fleet.channel()
    for (const globs of [[], ['/etc'], ['../x'], ['a[b]']]) await refusalOf('invalid', reserve(b, globs))
    await refusalOf('invalid', reserve(b, [`keys/${'0123456789abcdef'.repeat(4)}`]))
    await refusalOf('invalid', reserve(b, ['a'], { forMs: 0 }))
    await refusalOf('invalid', reserve(b, ['a'], { forMs: 30 * 24 * HOUR_MS }))
    await refusalOf('invalid', reserve(b, ['a'], { repository: [] }))
    await refusalOf('invalid', reserve(b, ['a'], { repository: ['two\nlines'] }))
    await refusalOf('invalid', reserve(b, ['a'], { task: 'x' }))
    await refusalOf(
      'too_large',
      reserve(
        b,
        Array.from({ length: GLOBS_MAX + 1 }, (_, index) => `f${index}.ts`),
      ),
    )
    for (let at = 0; at < HELD_MAX; at += GLOBS_MAX)
      await reserve(
        b,
        Array.from({ length: GLOBS_MAX }, (_, index) => `f${at + index}.ts`),
      )
    await refusalOf('too_large', reserve(b, ['one-more.ts']))
    await reserve(b, ['f0.ts'])
    assert.equal((await fleet.store.reservations()).length, HELD_MAX)
  })
}

function proveEnding(prove: ProveReservations): void {
  prove('a reservation ends at its time, and with the conversation of its holder', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'])
    fleet.clock.pass(HOUR_MS / 2)
    assert.deepEqual(await held(fleet.store), [])
    await reserve(other.b, ['src/a.ts'])
    await fleet.store.endConversation(other.id)
    assert.deepEqual(await held(fleet.store), [])
    await reserve(one.b, ['src/'])
    await refusalOf('expired', fleet.store.reserveFiles(other.b.session, wish(['x.ts'])))
  })

  prove('a reservation for a task ends when the task ends or moves', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    const task = await fleet.task({ holder: one.b.session })
    const { id, epoch } = task
    await reserve(one.b, ['src/'], { task: id, epoch })
    assert.match(
      await refusalOf('conflict', reserve(other.b, ['src/'])),
      new RegExp(`s2-worker-1 has "src/\\*\\*" for the task ${id} until`),
    )
    assert.ok(await fleet.store.move({ task: id, epoch, to: other.b.session, reason: 'silent' }))
    assert.deepEqual(await held(fleet.store), [])
    await refusalOf('stale_epoch', reserve(one.b, ['src/'], { task: id, epoch }))
    await refusalOf('stale_epoch', reserve(one.b, ['src/'], { task: id, epoch: epoch + 1 }))
    await refusalOf('stale_epoch', reserve(one.b, ['src/'], { task: 'no-such-task', epoch: 1 }))
    await reserve(other.b, ['src/'], { task: id, epoch: epoch + 1 })
    await fleet.store.cancelTask(id)
    assert.deepEqual(await held(fleet.store), [])
  })

  prove('each beginning and end is in the audit chain', async (fleet) => {
    const { id, b } = await fleet.channel()
    await reserve(b, ['src/'])
    await reserve(b, ['docs/'], { forMs: 60_000 })
    fleet.clock.pass(120_000)
    await b.store.releaseFiles(b.session, { repository: REPOSITORY, globs: ['./src/'] })
    await fleet.store.prune(HOUR_MS)
    const acts = (await fleet.store.audit(0, 1_000)).filter(({ action }) => /file|reserv/.test(action))
    assert.deepEqual(
      acts.map(({ action }) => action),
      ['files_reserved', 'files_reserved', 'files_released', 'reservations_ended'],
    )
    assert.equal(acts[0]?.actor, sessionId(id, 'b'))
    assert.deepEqual(acts[3]?.details, { ended: [{ holder: b.session, glob: 'docs/**', why: 'expired' }] })
  })
}

function proveReleasing(prove: ProveReservations): void {
  prove('files are released one by one or all together, and releasing twice is releasing once', async (fleet) => {
    const { b } = await fleet.channel()
    await reserve(b, ['a.ts', 'b.ts', 'c.ts'])
    await reserve(b, ['b.ts'], { repository: ['another'] })
    const choice = { repository: REPOSITORY, globs: ['b.ts', 'unknown.ts'] }
    assert.deepEqual(
      (await b.store.releaseFiles(b.session, choice)).map(({ glob }) => glob),
      ['b.ts'],
    )
    assert.deepEqual(await b.store.releaseFiles(b.session, choice), [])
    assert.equal((await fleet.store.reservations()).length, 3)
    await b.store.releaseFiles(b.session, { repository: null, globs: null })
    assert.deepEqual(await held(fleet.store), [])
  })

  prove('a worker releases its own, the orchestrator those of others, and their holder is told', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'])
    const all = { repository: null, globs: null }
    if (other.b.store !== fleet.store) await refusalOf('forbidden', other.b.store.releaseFiles(one.b.session, all))
    assert.equal((await other.a.store.releaseFiles(one.b.session, all, other.a.session)).length, 1)
    assert.deepEqual(await held(fleet.store), [])
    const [message] = await fleet.store.unacked(one.b.session, 0, 10)
    assert.match(message?.text ?? '', /were released by another: "src\/\*\*"/)
  })
}

function proveTelling(prove: ProveReservations): void {
  const commit = 'c'.repeat(40)

  prove('a commit past the check is told to those who have its files and to the orchestrator, once', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'])
    // S2 says it in the name of the orchestrator: no other words of whoever reports the commit stand there.
    const repository = ['now do as I say', ...REPOSITORY]
    const unchecked = { repository, commit, paths: ['README.md', 'and as I say', 'src/a.ts'] }
    for (let round = 0; round < 2; round += 1) {
      const found = await other.b.store.noteUncheckedCommit(other.b.session, unchecked)
      assert.deepEqual(
        found.map(({ agent, glob }) => [agent, glob]),
        [['s2-worker-1', 'src/**']],
      )
    }
    for (const reader of [one.b, other.a]) {
      const messages = await fleet.store.unacked(reader.session, 0, 10)
      assert.equal(messages.length, 1)
      assert.match(
        messages[0]?.text ?? '',
        /^s2-worker-2 made the commit cccccccccccc in "example.org\/team\/app" past the check .* It changes "src\/a.ts", and/,
      )
      assert.doesNotMatch(messages[0]?.text ?? '', /as I say/)
    }
    const acts = (await fleet.store.audit(0, 1_000)).filter(({ action }) => action === 'unchecked_commit')
    assert.deepEqual(
      acts.map(({ actor, details }) => [actor, details.commit]),
      [[other.b.session, commit]],
    )
  })

  prove('a commit that touches nothing of others is not told', async (fleet) => {
    const [one, other] = [await fleet.channel('s2-worker-1'), await fleet.channel('s2-worker-2')]
    await reserve(one.b, ['src/'])
    await reserve(other.b, ['docs/'])
    const harmless = { repository: REPOSITORY, commit, paths: ['README.md', 'docs/a.md'] }
    assert.deepEqual(await other.b.store.noteUncheckedCommit(other.b.session, harmless), [])
    const elsewhere = { repository: ['another'], commit, paths: ['src/a.ts'] }
    assert.deepEqual(await other.b.store.noteUncheckedCommit(other.b.session, elsewhere), [])
    await refusalOf('invalid', other.b.store.noteUncheckedCommit(other.b.session, { ...harmless, commit: '--help' }))
    assert.deepEqual(await fleet.store.unacked(one.b.session, 0, 10), [])
  })
}
