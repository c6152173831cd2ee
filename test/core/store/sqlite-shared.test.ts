/** A database that programs of several users share: who may open it, and that nobody locks another out. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import type { StoreWarning } from '#fleet/store-warning.ts'
import { demandCommonTmp } from '#store/sqlite/file/private-tmp.ts'
import { demandSharedRights, isOpenToAll, modeBeside, type Opener } from '#store/sqlite/file/shared-rights.ts'
import { Ground, noPython, openChannel, openWithoutRights, runTool, s2 } from './sqlite-ground.ts'

/** A database as the Python bridge leaves it when its call is done: in WAL mode, without a log. */
function makeForeign(path: string): void {
  const database = new Database(path)
  database.pragma('journal_mode = WAL')
  database.exec(`
    CREATE TABLE conversations (id TEXT PRIMARY KEY, session_a_role TEXT NOT NULL, session_b_role TEXT NOT NULL,
      session_a_token TEXT NOT NULL, session_b_token TEXT NOT NULL, created_at TEXT NOT NULL, expires_at TEXT NOT NULL);
    CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, from_session TEXT NOT NULL,
      to_session TEXT NOT NULL, message TEXT NOT NULL, metadata TEXT, timestamp TEXT NOT NULL, read INTEGER DEFAULT 0);
    CREATE TABLE session_status (conversation_id TEXT NOT NULL, session_id TEXT NOT NULL, status TEXT NOT NULL,
      last_heartbeat TEXT NOT NULL, PRIMARY KEY (conversation_id, session_id));
    CREATE TABLE audit_log (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT, session_id TEXT,
      action TEXT NOT NULL, details TEXT, timestamp TEXT NOT NULL)`)
  database.close()
}

const modeOf = (path: string): number => statSync(path).mode & 0o777

test('a reader that may not write opens nothing and leaves nothing', async () => {
  await using ground = await Ground.make()
  makeForeign(ground.path)
  chmodSync(ground.path, 0o444)
  chmodSync(ground.folder, 0o777)
  for (const mode of ['read', 'write'] as const) {
    assert.match(openWithoutRights(ground.path, mode), /^forbidden: the database .* may not be written by its owner/)
  }
  assert.deepEqual(readdirSync(ground.folder), ['bridge.db'])
})

test('a folder that may not be entered is told as such, and not as a database that is missing', async () => {
  await using ground = await Ground.make()
  const folder = join(ground.folder, 'closed')
  mkdirSync(folder, { mode: 0o700 })
  const path = join(folder, 'bridge.db')
  makeForeign(path)
  chmodSync(folder, 0o400)
  assert.match(openWithoutRights(path, 'read'), /^forbidden: the folder .*closed cannot be written by this user → /)
  chmodSync(folder, 0o700)
})

test('a reader that waits for its database says what is wrong with what came in its place', async () => {
  await using ground = await Ground.make()
  const store = await ground.open('read')
  await assert.rejects(store.conversations(), /there is no database at/)
  mkdirSync(ground.path)
  await assert.rejects(store.conversations(), /is not a file/)
})

test('in a folder that a group shares the database, its log and its doorbell are the group’s', async () => {
  await using ground = await Ground.make()
  chmodSync(ground.folder, 0o2770)
  const umask = process.umask(0o077)
  try {
    const store = await ground.open()
    const { a } = await openChannel(store)
    await store.send(a, 'k', { text: 'hello' })
    for (const name of ['bridge.db', 'bridge.db-wal', 'bridge.db-shm', 'bridge.db-bell']) {
      assert.equal(modeOf(join(ground.folder, name)).toString(8), '660', name)
    }
  } finally {
    process.umask(umask)
  }
})

test('beside a database that everybody may read S2 makes nothing that everybody may read, and warns once', async (context) => {
  const warnings: (StoreWarning | null)[] = []
  await using ground = await Ground.make({ onWarning: (_, warning) => warnings.push(warning) })
  makeForeign(ground.path)
  chmodSync(ground.path, 0o644)
  const store = await ground.open()
  const { a } = await openChannel(store)
  await store.beat([{ session: a, host: 'box', incarnation: 'i', seq: 1, work: 0 }])
  await store.tend()
  for (const name of ['bridge.db-bell', 'liveness.db']) {
    assert.equal(modeOf(join(ground.folder, name)).toString(8), '640', name)
  }
  assert.equal(warnings.length, 0, 'nobody else may enter its folder')
  chmodSync(ground.folder, 0o755)
  if (!isOpenToAll(ground.path)) return context.skip('the folder of temporary files is closed to others')
  await store.tend()
  await store.tend()
  assert.equal(warnings.length, 1)
  assert.match(warnings[0]?.message ?? '', new RegExp(`everybody on this host may read the database ${ground.path}`))
  const next = warnings[0]?.next.replace(/,.*/, '') ?? ''
  assert.equal(next, `chmod 660 ${ground.path}* ${join(ground.folder, 'liveness.db')}*`)
  assert.equal(runTool('sh', '-c', next).status, 0)
  await store.tend()
  assert.deepEqual([warnings.length, warnings[1]], [2, null], 'what is advised is enough')
})

test('beside a database that everybody may write S2 makes what everybody may write', () => {
  assert.deepEqual([0o666, 0o664, 0o660, 0o600, 0o100644].map(modeBeside), [0o666, 0o660, 0o660, 0o600, 0o640])
})

test('a folder that others may write, and that is no group’s, keeps a new database private', async () => {
  await using ground = await Ground.make()
  chmodSync(ground.folder, 0o777)
  await ground.open()
  for (const name of ['bridge.db', 'bridge.db-bell']) {
    assert.equal(modeOf(join(ground.folder, name)).toString(8), '600', name)
  }
})

test('the rights of a file count as they will for its owner', async () => {
  await using ground = await Ground.make()
  makeForeign(ground.path)
  const { uid, gid } = statSync(ground.path)
  const other: Opener = { uid: uid + 1, gid: gid + 1, groups: [gid + 1, gid], protectedRegular: 1 }
  const judge = (folder: number, file: number, opener: Partial<Opener> = {}): string => {
    chmodSync(ground.folder, folder)
    chmodSync(ground.path, file)
    try {
      demandSharedRights({ path: ground.path, folder: ground.folder }, { ...other, ...opener })
      return 'open'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.equal(judge(0o2770, 0o660), 'open')
  assert.match(judge(0o770, 0o660), /could not be written by its owner/)
  assert.equal(judge(0o770, 0o660, { gid }), 'open')
  assert.equal(judge(0o770, 0o660, { groups: [gid + 1] }), 'open') // an access list let it in
  assert.equal(judge(0o777, 0o666), 'open')
  assert.equal(judge(0o1777, 0o666, { protectedRegular: 0 }), 'open')
  assert.equal(judge(0o1777, 0o666), 'open') // the folder and the file have one owner
})

test('a database in a /tmp that a service has for itself is refused', () => {
  const line = (root: string, place: string): string =>
    `612 580 8:1 ${root} ${place} rw,relatime shared:305 master:1 - ext4 /dev/sda1 rw`
  const own = (place: string): string => line(`${place}/systemd-private-8ab1-s2-bridge.service-x/tmp`, place)
  const judge = (path: string, ...lines: string[]): string => {
    try {
      demandCommonTmp(path, () => ['580 29 8:1 / / rw - ext4 /dev/sda1 rw', ...lines, ''].join('\n'))
      return 'common'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.match(judge('/tmp/bridge.db', own('/tmp')), /lies in \/tmp, and this service has a \/tmp of its own/)
  assert.match(judge('/var/tmp/x/bridge.db', own('/tmp'), own('/var/tmp')), /lies in \/var\/tmp/)
  assert.equal(judge('/tmp/bridge.db', line('/', '/tmp')), 'common')
  assert.equal(judge('/tmp/bridge.db', own('/var/tmp')), 'common')
  assert.equal(judge('/tmpx/bridge.db', own('/tmp')), 'common')
  assert.equal(judge('/srv/bridge/bridge.db', own('/tmp')), 'common')
})

test('that a database was made is logged, so that nobody takes a new one for the one that was meant', async () => {
  await using ground = await Ground.make()
  const made = (): unknown[] => ground.log.records.filter(({ event }) => event === 'database made')
  await (await ground.open())[Symbol.asyncDispose]()
  await ground.open()
  assert.equal(made().length, 1)
  assert.match(JSON.stringify(made()), new RegExp(ground.path))
})

const S2_USER = 54_321
const PYTHON_USER = 54_322
const GROUP = 54_323

/** A command as another user of the group, who reads this checkout wherever that lies, and writes as the modes of files say. */
function as(user: number, command: readonly string[], mask = '022'): readonly string[] {
  const caps = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
  const user_ = [`--reuid=${user}`, `--regid=${user}`, `--groups=${user},${GROUP}`]
  return ['setpriv', ...user_, ...caps, 'sh', '-c', `umask ${mask}; exec "$@"`, 'sh', ...command]
}

function say([command = '', ...args]: readonly string[], input = ''): string {
  const { stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', input })
  if (error !== undefined) throw error
  return stdout + stderr
}

/** What calls of the Python bridge's tools answer, the first line being that it is ready. */
function python(path: string, calls: readonly object[]): Record<string, unknown>[] {
  const command = ['python3', join(import.meta.dirname, 'python-bridge.py'), path]
  const said = say(as(PYTHON_USER, command), calls.map((call) => `${JSON.stringify(call)}\n`).join(''))
  return said
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** A ground in a folder that others may enter: access(2) leaves out the right to read everything, and the folder of a run is closed. */
async function openGround(user: number): Promise<Ground> {
  const ground = await Ground.make()
  const parent = dirname(ground.folder)
  const { mode } = statSync(parent)
  if ((mode & 0o001) === 0) chmodSync(parent, (mode & 0o7777) | 0o011)
  chownSync(ground.folder, user, GROUP)
  chmodSync(ground.folder, 0o2770)
  return ground
}

const noUsers: string | false =
  noPython ||
  (runTool(as(S2_USER, ['true'])[0] ?? '', ...as(S2_USER, ['true']).slice(1)).status === 0
    ? false
    : 'this user cannot become others')

for (const first of ['Python', 'S2'] as const) {
  test(`two users share a database that ${first} made`, { skip: noUsers }, async () => {
    await using ground = await openGround(S2_USER)
    const talk = `
      const opened = await store.openConversation(
        { roles: { a: 'lead', b: 'tests' }, agents: { a: 'lead', b: 'tests' }, lifetimeMs: 3_600_000 })
      await store.send(opened.id + '/a', 'k', { text: 'from S2' })
      console.log(JSON.stringify(opened))
      await store[Symbol.asyncDispose]()`
    if (first === 'Python') {
      assert.ok('ready' in (python(ground.path, [])[0] ?? {}))
      chmodSync(ground.path, 0o660) // SQLite makes a file that its owner alone may write, whatever the umask
    }
    const said = say(as(S2_USER, s2(talk, ground.path), '077'))
    const { id, tokens } = JSON.parse(said.split('\n')[0] ?? '')
    const call = { conversation_id: id, session_id: 'b', token: tokens.b }
    const [, got, sent] = python(ground.path, [
      { tool: 'check_messages', arguments: call },
      { tool: 'send_to_partner', arguments: { ...call, message: 'from Python' } },
    ])
    assert.match(JSON.stringify(got), /"message":"from S2"/)
    assert.equal(typeof sent?.id, 'number', JSON.stringify(sent))
    const heard = say(
      as(
        S2_USER,
        s2(`console.log((await store.unacked('${id}/a', 0, 10)).map(({ text }) => text).join())`, ground.path),
      ),
    )
    assert.equal(heard, 'from Python\n')
  })
}

test('a database that its maker alone may write is refused with the way out, and its maker goes on', {
  skip: noUsers,
}, async () => {
  await using ground = await openGround(PYTHON_USER)
  python(ground.path, [])
  for (const mode of ['read', 'write'] as const) {
    const said = say(as(S2_USER, s2('', ground.path, mode)))
    assert.match(
      said,
      /^forbidden: the database .* belongs to user 54322 and may not be written by user 54321 → share it/,
    )
    assert.match(said, new RegExp(`chmod 2770 ${ground.folder}; chmod 660 ${ground.path}`))
  }
  for (const act of [
    `(await import('#store/sqlite/backup/copy-database.ts')).copyDatabase(path, path + '.copy', parts)`,
    `(await import('#store/sqlite/audit/trail.ts')).storeIdIn(path)`,
  ]) {
    const script = `
      const path = process.argv[1]
      const parts = { clock: { now: () => 0 }, chance: () => 0, roomIn: () => 1e9 }
      await Promise.resolve().then(async () => ${act}).catch((error) => console.log(error.code))`
    const said = say(as(S2_USER, [process.execPath, '--input-type=module', '-e', script, ground.path]))
    assert.equal(said, 'forbidden\n')
  }
  assert.deepEqual(readdirSync(ground.folder), ['bridge.db'])
  const [, made] = python(ground.path, [
    { tool: 'create_conversation', arguments: { my_role: 'a', partner_role: 'b' } },
  ])
  assert.match(String(made?.conversation_id), /^conv_/)
})
