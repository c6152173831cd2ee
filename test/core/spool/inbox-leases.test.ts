/** Who has which message of an inbox in hand, and when it is handed out again. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LEASES_MAX } from '#fleet/message-leases.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { Inbox } from '#spool/inbox.ts'
import { InboxLeases } from '#spool/inbox-leases.ts'
import { type MessageTaker, SOMEBODY } from '#spool/message-taker.ts'
import { letter, OTHER, tempState } from './sample.ts'

const LEASE_MS = 60_000

class Scene implements Disposable {
  readonly #home = tempState()
  readonly inbox = new Inbox(this.state)
  readonly faults: string[] = []
  now = Date.now()
  readonly leases = new InboxLeases(this.state, {
    inbox: this.inbox,
    leaseMs: LEASE_MS,
    wall: () => this.now,
    onFault: (fault) => this.faults.push(fault),
  })

  get state(): string {
    return this.#home.state
  }

  path(name: string): string {
    return join(this.state, 'inbox', name)
  }

  /** What is handed out: each message's id with how often, where that is not the first time. */
  async take(taker: MessageTaker, limit = 10): Promise<string[]> {
    const taken = await this.leases.take(taker, limit)
    return taken.map(({ id, again }) => (again === undefined ? `${id}` : `${id}:${again}`))
  }

  async folders(): Promise<string> {
    const all = ['new', 'cur', 'dead', 'done'] as const
    const found = await Promise.all(all.map(async (folder) => `${folder} ${(await this.inbox.list(folder)).join(',')}`))
    return found.join(' · ')
  }

  [Symbol.dispose](): void {
    this.#home[Symbol.dispose]()
  }
}

function alive(by: string): MessageTaker {
  const startTicks = processStart(process.pid) as string
  return { by, process: { pid: process.pid, startTicks, namespace: pidNamespace() } }
}

/** A taker whose process can be ended. */
async function mortal(by: string): Promise<{ readonly taker: MessageTaker; end(): Promise<void> }> {
  const child = spawn('sleep', ['60'])
  await once(child, 'spawn')
  const pid = child.pid as number
  const taker = { by, process: { pid, startTicks: processStart(pid) as string, namespace: pidNamespace() } }
  return {
    taker,
    end: async () => {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

test('a taker that asks for more has received what it took, and nobody else’s is acked by that', async () => {
  using scene = new Scene()
  await scene.inbox.putAll([letter(1), letter(2)])
  assert.deepEqual(await scene.take(alive('one'), 1), ['1'])
  assert.deepEqual(await scene.take(alive('two')), ['2'])
  assert.deepEqual(await scene.take(alive('one')), [])
  assert.equal(await scene.folders(), 'new  · cur 2 · dead  · done 1')
})

test('strangers at a shell are one taker until the lease runs out; then a message comes again, marked', async () => {
  using scene = new Scene()
  await scene.inbox.putAll([letter(1), letter(2)])
  assert.deepEqual(await scene.take(SOMEBODY, 1), ['1'])
  scene.now += LEASE_MS - 1
  assert.deepEqual(await scene.take(SOMEBODY), ['2'])
  assert.equal(await scene.folders(), 'new  · cur 2 · dead  · done 1')
  scene.now += LEASE_MS
  assert.deepEqual(await scene.take(SOMEBODY), ['2:2'])
})

test('a message in the hand of a taker that is proved dead is handed out again at once, marked', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1))
  const { taker, end } = await mortal('claude:one')
  assert.deepEqual(await scene.take(taker), ['1'])
  assert.deepEqual(await scene.take(alive('two')), [], 'it lives')
  await end()
  const { inHand } = await scene.leases.release()
  assert.deepEqual([inHand, await scene.folders()], [[], 'new 1 · cur  · dead  · done '])
  assert.deepEqual(await scene.take(alive('two')), ['1:2'])
  assert.deepEqual(
    (await scene.leases.inHand(10)).map(({ id, again }) => [id, again]),
    [[1, 2]],
  )
})

test('a session that was resumed by another process is another taker', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1))
  const { taker, end } = await mortal('claude:one')
  await scene.take(taker)
  await end()
  assert.deepEqual(await scene.take(alive('claude:one')), ['1:2'])
})

test('another reader gets what a living taker lets lie for a lease; that one keeps it from release, and acks it late', async () => {
  using scene = new Scene()
  await scene.inbox.putAll([letter(1), letter(2)])
  await scene.take(alive('one'))
  scene.now += LEASE_MS
  assert.equal((await scene.leases.release()).inHand.length, 2, 'its own next check acks it')
  assert.deepEqual(await scene.take(alive('two'), 1), ['1:2'])
  assert.equal(await scene.folders(), 'new 2 · cur 1 · dead  · done ')
  assert.deepEqual(await scene.take(alive('one')), [], 'it has seen what was handed back')
  assert.equal(await scene.folders(), 'new  · cur 1 · dead  · done 2')
})

test('a clock that was put back holds nothing for ever', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1))
  await scene.take(alive('one'))
  scene.now -= 2 * LEASE_MS
  assert.deepEqual(await scene.take(alive('two')), ['1:2'])
})

test('after five times without an ack a message is given up, with the reason, and let go', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1, 'poison'))
  for (let times = 1; times <= LEASES_MAX; times += 1) {
    assert.deepEqual(await scene.take({ by: `life ${times}`, process: null }), [times === 1 ? '1' : `1:${times}`])
    scene.now += LEASE_MS
  }
  const { inHand, givenUp } = await scene.leases.release()
  assert.deepEqual([inHand, await scene.folders()], [[], 'new  · cur  · dead 1 · done '])
  const why = 'it was handed out 5 times, last to life 5, and never acked'
  assert.deepEqual(givenUp, [{ id: 1, to: letter(1).to, why }])
  assert.deepEqual(await scene.take(SOMEBODY), [])
  assert.deepEqual(await scene.inbox.putAll([letter(1, 'poison')]), [{ id: 1, as: 'known' }])
  await scene.leases.letGo([1])
  assert.equal(await scene.folders(), 'new  · cur  · dead  · done ')
  assert.deepEqual(await scene.inbox.putAll([letter(1, 'poison')]), [{ id: 1, as: 'new' }], 'nobody acked it')
})

test('only messages that a reader wants are acked, handed back and taken', async () => {
  using scene = new Scene()
  await scene.inbox.putAll([letter(1), letter(2, 'for the other', OTHER)])
  const wants = ({ to }: { readonly to: string }): boolean => to === letter(1).to
  const taken = await scene.leases.take(alive('one'), 10, wants)
  assert.deepEqual(
    taken.map(({ id }) => id),
    [1],
  )
  assert.equal(await scene.folders(), 'new 2 · cur 1 · dead  · done ')
})

test('what an earlier version or a program moved into hand is somebody’s, since its file was moved', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1))
  renameSync(scene.path('new/1.json'), scene.path('cur/1.json'))
  assert.deepEqual(await scene.take(alive('one')), [])
  assert.deepEqual(await scene.take(SOMEBODY), [])
  assert.equal(await scene.folders(), 'new  · cur  · dead  · done 1')
  await scene.inbox.put(letter(2))
  renameSync(scene.path('new/2.json'), scene.path('cur/2.json'))
  scene.now += LEASE_MS + 10_000
  await scene.leases.release()
  assert.deepEqual(await scene.take(SOMEBODY), ['2'], 'nobody counted how often it was handed out')
})

test('a note is of one message: the next with its number begins anew, and notes of none are removed', async () => {
  using scene = new Scene()
  await scene.inbox.put(letter(1, 'the first'))
  await scene.take(alive('one'))
  await scene.inbox.ack([1])
  await scene.inbox.forget([1])
  await scene.inbox.put(letter(1, 'the next'))
  assert.deepEqual(await scene.take(alive('two')), ['1'])
  await scene.inbox.ack([1])
  await scene.leases.release()
  assert.deepEqual(readdirSync(scene.path('leases')), [])
})

test('whatever a hostile agent leaves for notes, messages are handed out', async () => {
  using scene = new Scene()
  await scene.inbox.putAll([letter(1), letter(2), letter(3), letter(4)])
  mkdirSync(scene.path('leases/1.json'), { recursive: true })
  writeFileSync(scene.path('leases/2.json'), '{"times":99}')
  symlinkSync('/etc/passwd', scene.path('leases/3.json'))
  writeFileSync(scene.path('leases/4.json'), 'x'.repeat(100_000))
  assert.deepEqual(await scene.take(alive('one')), ['1', '2', '3', '4'])
  assert.ok(scene.faults.length <= 1, scene.faults.join('\n'))
  rmSync(scene.path('leases'), { recursive: true })
  symlinkSync('/etc', scene.path('leases'))
  await scene.inbox.put(letter(5))
  assert.deepEqual(await scene.take(alive('one')), ['5'])
  assert.ok(!existsSync('/etc/5.json'))
})
