/** The URL's scheme picks the backend. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openStore } from '#store/open-store.ts'
import { Ground, openChannel, refused } from './sqlite-ground.ts'

test('sqlite: opens a database by its path', async () => {
  await using ground = await Ground.make()
  const path = join(ground.folder, 'with space', 'bridge.db')
  await using store = await openStore(`sqlite:${path}`, ground.parts)
  const { opened } = await openChannel(store)
  assert.equal((await store.conversations())[0]?.id, opened.id)
  assert.ok(statSync(path).isFile())
})

test('memory: keeps a fleet for as long as the process lives', async () => {
  await using ground = await Ground.make()
  await using store = await openStore('memory:', ground.parts)
  const { opened } = await openChannel(store)
  assert.equal((await store.conversations())[0]?.id, opened.id)
})

test('unix: and http: speak to a bridge, and say when there is none', async () => {
  await using ground = await Ground.make()
  await using admin = await openStore(`unix:${join(ground.folder, 'admin.sock')}`, ground.parts)
  await refused('unavailable', admin.conversations())
  const keyring = { token: () => 'f'.repeat(64), sessions: () => ['conv_x/b' as const] }
  await using remote = await openStore('http://127.0.0.1:9', ground.parts, keyring)
  await refused('unavailable', remote.tasks({}))
})

test('http: wants a keyring', async () => {
  await using ground = await Ground.make()
  await refused('invalid', openStore('http://127.0.0.1:9', ground.parts))
})

test('any other address is refused with examples, and never shown', async () => {
  await using ground = await Ground.make()
  for (const url of ['', 'bridge.db', 'postgres://joe:geheim@db/x', 'SQLITE:/x', 'file:/x', 'nats://x']) {
    const error = await refused('invalid', openStore(url, ground.parts))
    assert.ok(!error.message.includes('geheim'))
    assert.match(error.next ?? '', /sqlite:\/path/)
  }
})
