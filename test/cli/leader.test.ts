/** The orchestrator on the bridge's own host, which has no credential there: `s2 mcp` and `s2 check` give it its mail. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Ground, type Seat } from '../bridge/ground.ts'
import { McpClient } from '../mcp-client.ts'
import { run } from './run-command.ts'

let ground: Ground
let workers: Seat[]
let client: McpClient

before(async () => {
  ground = await Ground.open()
  workers = [(await ground.channel('s2-worker-1')).b, (await ground.channel('s2-worker-2')).b]
  client = new McpClient({ S2_STATE: ground.state })
  await client.begin()
})

after(async () => {
  await client?.[Symbol.asyncDispose]()
  await ground?.[Symbol.asyncDispose]()
})

async function sendAll(text: string): Promise<void> {
  for (const { session } of workers) await ground.store.send(session, `${text} of ${session}`, { text })
}

async function texts(): Promise<string[]> {
  const { said } = await client.call('check_messages')
  assert.equal(said.error, undefined, JSON.stringify(said))
  return said.messages.map(({ message }: { message: string }) => message)
}

test('it reads the mail of all its conversations by its tools, and its next check acks it', async () => {
  await sendAll('one')
  assert.deepEqual(await texts(), ['one', 'one'])
  await sendAll('two')
  assert.deepEqual(await texts(), ['two', 'two'])
  const { said } = await client.call('check_messages')
  assert.deepEqual(said.messages, [])
  for (const { session } of workers)
    assert.deepEqual(await ground.store.unacked(session.replace('/b', '/a') as never, 0, 10), [])
})

test('it gives work, speaks to each, and takes none', async () => {
  const given = await client.call('assign_task', { description: 'do it', to: 's2-worker-2', task_id: 't-1' })
  assert.equal(given.said.task.state, 'assigned')
  assert.equal((await client.call('send_message', { to: 's2-worker-1', message: 'hello' })).said.state, 'queued')
  const mail = await ground.store.unacked((workers[0] as Seat).session, 0, 10)
  assert.deepEqual([mail.at(-1)?.text, mail.at(-1)?.sender], ['hello', undefined], 'from its partner')
  assert.match((await client.call('send_to_partner', { message: 'x' })).said.error.message, /several conversations/)
  const [conversation_id] = (workers[1] as Seat).session.split('/')
  assert.equal((await client.call('send_to_partner', { message: 'x', conversation_id })).isError, false)
  assert.equal((await client.call('take_task')).isError, true)
  assert.equal((await client.call('list_tasks')).said.tasks.length, 1)
  assert.equal((await client.call('send_to_partner', { message: 'x', session_id: 'b' })).said.error.code, 'forbidden')
})

test('`s2 check` prints the same mail, once, and --ack acks it', async () => {
  const check = async (...args: string[]) => await run(['check', ...args], { env: { S2_STATE: ground.state } })
  await sendAll('three')
  const first = await check()
  assert.equal(first.out.match(/three/g)?.length, 2, first.err)
  assert.match(first.out, /^── \d+ · s2-worker-1 → orchestrator · /m, 'by their names')
  assert.equal((await check('--again')).out.match(/three/g)?.length, 2)
  assert.equal((await check()).out, 'no new messages\n')
  await sendAll('four')
  assert.deepEqual((await check('--peek')).out.match(/three|four/g), ['four', 'four'])
  assert.equal((await check('--ack', '--json')).out.match(/"four"/g)?.length, 2)
  for (const { session } of workers)
    assert.deepEqual(await ground.store.unacked(session.replace('/b', '/a') as never, 0, 10), [])
})

test('mail that a keepalive elsewhere brings to the orchestrator is left to it', async () => {
  const session = (workers[0] as Seat).session.replace('/b', '/a') as Seat['session']
  await ground.store.beat([{ session, host: 'elsewhere', incarnation: 'i', seq: 1, work: 0 }])
  await sendAll('five')
  assert.deepEqual(await texts(), ['five'])
  assert.equal((await ground.store.unacked(session, 0, 10)).at(-1)?.delivery, 'queued')
})
