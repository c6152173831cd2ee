/** A stream of messages over a database that others write: how soon it has what a read found, and how it waits and ends. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { MessageStream } from '#store/sqlite/changes/message-stream.ts'
import { NewMessageNotifier } from '#store/sqlite/changes/new-message-notifier.ts'
import { ReopeningReader } from '#store/sqlite/changes/reopening-reader.ts'
import { MalformedRows } from '#store/sqlite/tables/malformed-rows.ts'
import type { TablesSource } from '#store/sqlite/tables/tables.ts'
import type { Store } from '#store/store.ts'
import { Ground, openChannel } from './sqlite-ground.ts'

type Next = IteratorResult<readonly StoredMessage[], undefined>

/** A database with a writer, and a reader whose watch is the test. */
class Scene implements AsyncDisposable {
  readonly #ground: Ground
  readonly #reader: ReopeningReader
  readonly store: Store
  readonly tail: NewMessageNotifier
  readonly closing = new AbortController()
  readonly a: SessionId
  readonly b: SessionId
  looks = 0
  #sent = 0

  constructor(ground: Ground, store: Store, { a, b }: { a: SessionId; b: SessionId }) {
    this.#ground = ground
    this.store = store
    this.a = a
    this.b = b
    this.#reader = new ReopeningReader(ground.path, ground.parts, new MalformedRows(ground.log))
    this.tail = new NewMessageNotifier(this.source, () => ({ [Symbol.dispose]: () => undefined }))
  }

  static async make(): Promise<Scene> {
    const ground = await Ground.make()
    const store = await ground.open()
    return new Scene(ground, store, await openChannel(store))
  }

  readonly source: TablesSource = ((scene: Scene): TablesSource => ({
    current() {
      scene.looks += 1
      return scene.#reader.current()
    },
    get held() {
      return scene.#reader.held
    },
    demand: () => scene.#reader.demand(),
    look: () => scene.#reader.look(),
    settle: () => scene.#reader.settle(),
    [Symbol.dispose]: () => scene.#reader[Symbol.dispose](),
  }))(this)

  stream(reader: SessionId | 'all', signal: AbortSignal = new AbortController().signal): MessageStream {
    return new MessageStream(reader, 0, signal, {
      path: this.#ground.path,
      log: this.#ground.log,
      source: this.source,
      tail: this.tail,
      closing: this.closing.signal,
      ask: async (question) => question(this.source.demand()),
    })
  }

  async send(text: string): Promise<void> {
    this.#sent += 1
    await this.store.send(this.a, `k${this.#sent}`, { text })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.source[Symbol.dispose]()
    await this.#ground[Symbol.asyncDispose]()
  }
}

const textsOf = (next: Next | undefined): string[] => next?.value?.map(({ text }) => text) ?? []

for (const whose of ['all', 'one session']) {
  test(`whoever waits for mail of ${whose} has it as soon as a read has found it`, async () => {
    await using scene = await Scene.make()
    const stream = scene.stream(whose === 'all' ? 'all' : scene.b)
    await scene.send('waiting already')
    assert.deepEqual(textsOf(await stream.next()), ['waiting already'])
    for (const text of ['one', 'two', 'three']) {
      let got: Next | undefined
      void stream.next().then((next) => {
        got = next
      })
      await scene.send(text)
      assert.equal(scene.tail.read(), true)
      await null // one turn of promises, and none of the event loop
      assert.deepEqual(textsOf(got), [text])
    }
    assert.equal(scene.tail.read(), false)
  })
}

test('a read looks at rows only, and not which file has the name', async () => {
  await using scene = await Scene.make()
  const stream = scene.stream('all')
  await scene.send('first')
  await stream.next()
  const { looks } = scene
  for (let n = 0; n < 50; n += 1) {
    const waiting = stream.next()
    await scene.send(`${n}`)
    scene.tail.read()
    assert.deepEqual(textsOf(await waiting), [`${n}`])
  }
  assert.equal(scene.looks, looks)
  scene.tail.look()
  assert.equal(scene.looks, looks + 1)
})

test('a stream that warms up hands nothing on, and goes on where it was', async () => {
  await using scene = await Scene.make()
  const stream = scene.stream('all')
  scene.tail.warm()
  await scene.send('first')
  await stream.next()
  let got: Next | undefined
  const waiting = stream.next().then((next) => {
    got = next
  })
  scene.tail.warm()
  await scene.send('second')
  scene.tail.warm()
  await null
  assert.equal(got, undefined)
  scene.tail.read()
  await waiting
  assert.deepEqual(textsOf(got), ['second'])
})

test('what a lock hid from a read comes without another commit', async ({ mock }) => {
  await using scene = await Scene.make()
  const stream = scene.stream('all')
  await scene.send('first')
  await stream.next()
  const waiting = stream.next()
  await scene.send('second')
  const { messages } = scene.source.demand()
  const refuse = (): never => {
    throw new Database.SqliteError('database is locked', 'SQLITE_BUSY')
  }
  const { mock: all } = mock.method(messages, 'all', refuse, { times: 1 })
  scene.tail.read()
  assert.equal(all.callCount(), 1)
  assert.deepEqual(textsOf(await waiting), ['second'])
})

test('many that were committed at once come in order, each once, whoever else listens', async () => {
  await using scene = await Scene.make()
  const streams = [
    scene.stream('all'),
    scene.stream(scene.b),
    ...Array.from({ length: 10 }, () => scene.stream(scene.b)),
  ]
  const sent = Array.from({ length: 300 }, (_, n) => `${n}`)
  const reading = streams.map(async (stream) => {
    const texts: string[] = []
    while (texts.length < sent.length) texts.push(...textsOf(await stream.next()))
    return texts
  })
  await Promise.all(sent.map((text) => scene.send(text)))
  scene.tail.read()
  for (const texts of await Promise.all(reading)) assert.deepEqual(texts, sent)
})

test('it ends for whoever waits: let go of, aborted, or with the store', async () => {
  await using scene = await Scene.make()
  const abort = new AbortController()
  const [released, aborted, closed] = [scene.stream('all'), scene.stream(scene.b, abort.signal), scene.stream('all')]
  const waiting = [released, aborted, closed].map((stream) => stream.next())
  await released.return()
  abort.abort()
  scene.tail[Symbol.dispose]()
  for (const next of await Promise.all(waiting)) assert.equal(next.done, true)
  for (const stream of [released, aborted, closed]) assert.equal((await stream.next()).done, true)
})

test('two that ask at once are served in turn', async () => {
  await using scene = await Scene.make()
  const stream = scene.stream('all')
  const [one, two] = [stream.next(), stream.next()]
  for (const [text, next] of [['one', one] as const, ['two', two] as const]) {
    await scene.send(text)
    scene.tail.read()
    assert.deepEqual(textsOf(await next), [text])
  }
})

test('an error is told to whoever waits, and ends it', async () => {
  await using scene = await Scene.make()
  const stream = scene.stream('nobody' as SessionId)
  await assert.rejects(stream.next(), { code: 'invalid' })
  assert.equal((await stream.next()).done, true)
})
