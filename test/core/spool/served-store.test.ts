/** Which store the bridge of a state folder serves is known without it. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { localStore } from '#runtime/settings.ts'
import { noteServedStore, servedStore } from '#spool/served-store.ts'

const root = mkdtempSync(join(tmpdir(), 's2-served-'))
after(() => rmSync(root, { recursive: true, force: true }))

test('without a note it is the database within the folder, also where the folder was moved', async () => {
  const [state, moved] = [join(root, 'own'), join(root, 'moved')]
  mkdirSync(state)
  assert.equal(servedStore(state), localStore(state))
  await noteServedStore(state, localStore(state))
  renameSync(state, moved)
  assert.equal(servedStore(moved), localStore(moved))
})

test('a database elsewhere is noted until another is served', async () => {
  const state = join(root, 'elsewhere')
  mkdirSync(state)
  await noteServedStore(state, 'sqlite:/srv/bridge/bridge.db')
  assert.equal(servedStore(state), 'sqlite:/srv/bridge/bridge.db')
  assert.equal(readFileSync(join(state, 'store'), 'utf8'), 'sqlite:/srv/bridge/bridge.db\n')
  await noteServedStore(state, localStore(state))
  assert.equal(servedStore(state), localStore(state))
})

test('what is no note says nothing', () => {
  const state = join(root, 'odd')
  mkdirSync(join(state, 'store'), { recursive: true })
  assert.equal(servedStore(state), localStore(state))
  rmSync(join(state, 'store'), { recursive: true })
  for (const text of ['', 'memory:', 'https://bridge.example', 'sqlite:relative.db']) {
    writeFileSync(join(state, 'store'), text)
    assert.equal(servedStore(state), localStore(state), text)
  }
})
