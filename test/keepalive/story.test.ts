/**
 * Stories by chance: lead and agent write, the agent reads and acks, and meanwhile the bridge goes away, answers get lost,
 * streams break off, disks fill up, tokens change, and the host is killed at any instant. A seed tells the same story again.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SessionId } from '#fleet/session-id.ts'
import { Dice } from '../simulation/chance.ts'
import { CONFIG, Ground } from './ground.ts'

const STEPS = 60
const SEEDS = 25
const PACE = { pollMs: 1_000, beatMs: 5_000 }

interface Channel {
  readonly b: SessionId
  readonly tell: (text: string) => Promise<unknown>
}

class Story {
  readonly ground: Ground
  readonly #chance: () => number
  readonly #channels: Channel[] = []
  readonly sent = new Map<string, string[]>()
  readonly said = new Map<string, string[]>()
  /** What the agent has acked: it must not see it again. */
  readonly #acked = new Set<string>()
  readonly read: string[] = []
  readonly counts = { kills: 0, absences: 0, mutes: 0, fulls: 0, hangUps: 0, rotations: 0, removals: 0 }

  constructor(seed: number) {
    this.ground = new Ground(seed)
    this.#chance = new Dice(`story ${seed}`).next
  }

  async tell(): Promise<void> {
    for (const name of ['s2-worker-1', 's2-worker-2']) this.#channels.push(await this.ground.channel(name))
    this.ground.start(PACE)
    for (let step = 0; step < STEPS; step += 1) {
      await this.#step(step)
      await this.ground.pass(this.#chance() < 0.7 ? this.#below(700) : this.#below(20_000))
    }
    await this.#heal()
    await this.#check()
  }

  #below(limit: number): number {
    return Math.floor(this.#chance() * limit)
  }

  async #step(step: number): Promise<void> {
    const { ground } = this
    const { weather } = ground
    const channel = this.#channels[this.#below(this.#channels.length)] as Channel
    const what = this.#chance()
    if (what < 0.3) {
      for (let n = 0; n <= this.#below(5); n += 1) await this.#leadSays(channel, `lead ${step}.${n}`)
    } else if (what < 0.45) {
      for (let n = 0; n <= this.#below(4); n += 1) await this.#agentSays(channel, `agent ${step}.${n}`)
    } else if (what < 0.65) await this.#agentReads()
    else if (what < 0.75) {
      // Killed while something is under way, not only between.
      const passing = ground.pass(this.#below(300))
      for (let turn = 0; turn < this.#below(12); turn += 1) await Promise.resolve()
      ground.kill()
      await passing
      this.counts.kills += 1
      if (this.#chance() < 0.5) await this.#agentReads()
      ground.start(PACE)
    } else if (what < 0.8) {
      weather.away = !weather.away
      if (weather.away) ground.bridge.hangUp()
      this.counts.absences += 1
    } else if (what < 0.85) {
      weather.mute = !weather.mute
      this.counts.mutes += 1
    } else if (what < 0.9) {
      ground.bridge.hangUp()
      this.counts.hangUps += 1
    } else if (what < 0.93) {
      ground.inbox.isFull = !ground.inbox.isFull
      this.counts.fulls += 1
    } else if (what < 0.97) await this.#rotate(channel)
    else {
      const [id] = await ground.inbox.list('new')
      if (id !== undefined) ground.inbox.folders.new.delete(id)
      this.counts.removals += 1
    }
  }

  async #leadSays({ b, tell }: Channel, text: string): Promise<void> {
    await tell(text)
    this.sent.set(b, [...(this.sent.get(b) ?? []), text])
  }

  async #agentSays({ b }: Channel, text: string): Promise<void> {
    await this.ground.outbox.put({ kind: 'send', from: b, draft: { text } })
    this.said.set(b, [...(this.said.get(b) ?? []), text])
  }

  /** The agent takes some, perhaps dies, and acks some of what it has. */
  async #agentReads(): Promise<void> {
    const { inbox } = this.ground
    for (const { text } of await inbox.take(1 + this.#below(4))) {
      assert.ok(!this.#acked.has(text), `${text} came up again after it was acked`)
      this.read.push(text)
    }
    const current = [...inbox.folders.cur.values()].filter(() => this.#chance() < 0.6)
    await inbox.ack(current.map(({ id }) => id))
    for (const { text } of current) this.#acked.add(text)
  }

  async #rotate({ b }: Channel): Promise<void> {
    const { store, credentials } = this.ground
    const file = credentials.files.get(b)
    if (file === undefined || file === 'malformed') return
    const token = await store.rotateToken(b, this.#chance() < 0.5 ? 60_000 : 0)
    credentials.files.set(b, { ...file, token, createdAt: file.createdAt + 1 })
    this.counts.rotations += 1
  }

  async #heal(): Promise<void> {
    const { ground } = this
    Object.assign(ground.weather, { away: false, mute: false })
    ground.inbox.isFull = false
    await ground.pass(90_000)
  }

  async #check(): Promise<void> {
    const { ground } = this
    for (const { b } of this.#channels) {
      assert.deepEqual(await ground.heardFrom(b), this.said.get(b) ?? [], 'all that the agent said, once, in order')
    }
    assert.deepEqual(await ground.outbox.names(), [])
    for (;;) {
      const before = this.read.length
      await this.#agentReads()
      await ground.inbox.ack(await ground.inbox.list('cur'))
      if (this.read.length === before && (await ground.inbox.list('new')).length === 0) break
    }
    const sent = [...this.sent.values()].flat()
    assert.deepEqual(
      sent.filter((text) => !this.read.includes(text)),
      [],
      'nothing that the lead said is lost',
    )
    await ground.pass(CONFIG.beatMs)
    for (const { b } of this.#channels)
      assert.deepEqual(await ground.deliveryOf(b), {}, 'the bridge knows of every ack')
    assert.deepEqual(await ground.inbox.list('done'), [])
    assert.deepEqual(ground.troubles, {})
    if (this.counts.removals === 0)
      assert.equal(new Set(this.read).size, this.read.length, 'nothing was handed out twice')
    for (const { b } of this.#channels) {
      const first = [...new Set(this.read)].filter((text) => this.sent.get(b)?.includes(text))
      if (this.counts.removals === 0) assert.deepEqual(first, this.sent.get(b) ?? [], 'in order per conversation')
    }
  }
}

test(`${SEEDS} stories end well`, async () => {
  const only = process.env.STORY === undefined ? null : Number(process.env.STORY)
  const totals: Record<string, number> = {}
  for (let seed = only ?? 1; seed <= (only ?? SEEDS); seed += 1) {
    const story = new Story(seed)
    await story.tell().catch((error) => {
      throw new Error(`story ${seed} went wrong; tell it again with STORY=${seed}`, { cause: error })
    })
    const events = { ...story.counts, read: story.read.length, said: [...story.said.values()].flat().length }
    for (const [name, count] of Object.entries(events)) totals[name] = (totals[name] ?? 0) + count
    story.ground.kill()
  }
  // A story in which nothing happens proves nothing.
  if (only !== null) return
  for (const [name, count] of Object.entries(totals)) assert.ok(count >= SEEDS / 2, `${name} happened ${count} times`)
})
