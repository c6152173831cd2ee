/** What foreign writers left in the database makes no command longer to read. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Ground } from '../core/store/sqlite-ground.ts'
import { run } from './run-command.ts'

test('a command that reads the database tells many malformed rows in one line, and one as what it is', async () => {
  await using ground = await Ground.make()
  await (await ground.open())[Symbol.asyncDispose]()
  const env = { S2_STATE: join(ground.folder, 'state'), S2_STORE: `sqlite:${ground.path}` }
  const told = async (): Promise<string> => (await run(['conversation', 'list'], { env })).err
  const add = (id: string): unknown =>
    ground.look((database) =>
      database
        .prepare("INSERT INTO conversations VALUES (?, 'a', 'b', '', '', '2026-01-01T00:00:00', '2999-01-01T00:00:00')")
        .run(id),
    )
  assert.equal(await told(), '')
  add('no such id 1')
  assert.equal(await told(), 's2: malformed row of a foreign writer passed over {"kind":"conversation","row":1}\n')
  add('no such id 2')
  add('no such id 3')
  assert.equal(
    await told(),
    's2: 3 malformed rows of foreign writers passed over {"such_as":"conversation 1","next":"the log of the bridge names each"}\n',
  )
})
