/** `s2 import`: its words, its exit codes, and that a refusal of such a file leads to it. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import { Ground, openChannel } from '../core/store/sqlite-ground.ts'
import { run } from './run-command.ts'

const SCRIPTS = `
  CREATE TABLE conversations (id TEXT PRIMARY KEY, role_a TEXT, role_b TEXT);
  CREATE TABLE messages (id INTEGER PRIMARY KEY, conversation_id TEXT, sender TEXT, content TEXT, action_type TEXT,
    created_at TEXT, read_by_b INTEGER);
  INSERT INTO conversations VALUES ('conv_1', 'orchestrator', 'worker-3-tests'), ('conv_2', 'orchestrator', 'worker-4');
  INSERT INTO messages (conversation_id, sender, content, read_by_b) VALUES
    ('conv_1', 'orchestrator', 'hello', 0), ('conv_1', 'bob', 'who', 0), ('conv_1', 'a', 'read', 1);`

test('the refusal of a scripts file names the command, which shows, takes, and then has nothing to take', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's2-import-'))
  try {
    const old = join(folder, 'coordinator.db')
    const database = new Database(old)
    database.exec(SCRIPTS)
    database.close()
    const before = readFileSync(old)
    const env = { S2_STATE: join(folder, 'state'), S2_STORE: `sqlite:${old}` }
    const s2 = (argv: readonly string[], more = {}) => run(argv, { env: { ...env, ...more }, folder })

    const refused = await s2(['conversation', 'list'])
    assert.equal(refused.code, 1)
    const [, store, file] = /S2_STORE=(\S+) s2 import (\S+) shows what would be taken/.exec(refused.err) ?? []
    assert.equal(file, old)
    assert.match((await s2(['import', old])).err, /is the database itself that S2_STORE names\n {2}next: .* s2 import /)

    const into = { S2_STORE: store }
    const shown = await s2(['import', 'coordinator.db'], into)
    assert.equal(shown.code, 0, shown.err)
    assert.match(shown.out, /^\S+coordinator\.db is a file of the protocol's scripts\nCONVERSATION +ROLES/)
    assert.match(shown.out, /\nconv_1 +orchestrator, worker-3-tests +ended +1 +0\/1 +0 +new *\n/)
    assert.match(shown.out, /\n {2}left behind: 1 message \(whose sender "bob" is neither end of its conversation\)\n/)
    assert.match(
      shown.out,
      /\nnothing was changed\n {2}next: s2 import \S+ --yes takes 1 message of 1 conversation over into \S+\n$/,
    )
    const asked = JSON.parse((await s2(['import', old, '--json'], into)).out)
    assert.equal(asked.taken, false)
    assert.deepEqual(asked.conversations[0].unread, { a: 0, b: 1 })

    const taken = await s2(['import', old, '--yes'], into)
    assert.equal(taken.code, 0, taken.err)
    assert.match(
      taken.out,
      /\n1 message of 1 conversation taken over into \S+\n {2}new tokens: s2 credential rotate conv_1\/b/,
    )
    assert.match((await s2(['conversation', 'list'], into)).out, /conv_1 .*worker-3-tests/)
    const again = await s2(['import', old, '--yes'], into)
    assert.match(again.out, /\nnothing is missing in \S+\n$/)
    assert.deepEqual(readFileSync(old), before)

    assert.equal((await s2(['import'], into)).code, 64)
    const missing = await s2(['import', 'none.db'], into)
    assert.deepEqual(
      [missing.code, missing.err],
      [1, `s2: there is no file ${folder}/none.db\n  next: name the file of a database\n`],
    )
    assert.equal((await s2(['import', old], { S2_STORE: 'https://bridge.example.org' })).code, 1)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a file of S2 is to be moved away, and to be kept where something of it could not be taken', async () => {
  await using ground = await Ground.make()
  const file = join(ground.folder, 'held.db')
  const held = await ground.open('write', file)
  const { a } = await openChannel(held)
  await held.send(a, 'key', { text: 'lost' })
  await held[Symbol.asyncDispose]()
  const env = { S2_STATE: join(ground.folder, 'state'), S2_STORE: `sqlite:${join(ground.folder, 'bridge.db')}` }
  const take = async (): Promise<string> => (await run(['import', file, '--yes'], { env })).out
  assert.match(await take(), /\n {2}next: \S+ holds nothing that is not here: move it away\n$/)
  ground.look((database) => {
    database.pragma('foreign_keys = OFF')
    database.exec(`INSERT INTO messages (conversation_id, from_session, to_session, message, timestamp)
      VALUES ('conv_ffffffffffffffff', 'a', 'b', 'stray', '2026-01-01T00:00:00.000000')`)
  }, file)
  assert.match(await take(), /\n {2}next: move \S+ away, and keep it: what is left behind is nowhere else\n$/)
})

test('what is in the log of a file is taken by a link to the file as well', async () => {
  await using ground = await Ground.make()
  const at = (name: string): string => join(ground.folder, name)
  const file = at('py.db')
  const held = await ground.open('write', at('first.db'))
  const { a } = await openChannel(held)
  await held.send(a, 'key', { text: 'in the log' })
  for (const suffix of ['', '-wal']) copyFileSync(at(`first.db${suffix}`), file + suffix)
  symlinkSync(file, at('link.db'))
  const env = { S2_STATE: at('state'), S2_STORE: `sqlite:${at('bridge.db')}` }
  const shown = await run(['import', at('link.db')], { env })
  assert.match(shown.out, /--yes takes 1 message of 1 conversation over into /)
  assert.ok(shown.out.startsWith(`${file} is a file of S2\n`), 'it names the file, which is what is to be kept')
})
