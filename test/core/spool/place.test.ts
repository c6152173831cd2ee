import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { publishPlace, readPlace } from '#spool/place.ts'

/** A folder for machines: each has a state folder, and a boot id that its kernel made. */
function ground(context: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 's2-place-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const boot = (name: string): string => {
    const file = join(folder, `boot-${name}`)
    writeFileSync(file, `${name}\n`)
    return file
  }
  return { folder, boot, state: (name: string) => join(folder, name) }
}

test('a place stays the same over restarts of its programs, another name of its folder and another path to it', async (context) => {
  const { folder, boot, state } = ground(context)
  const place = await publishPlace(state('box'), boot('one'))
  assert.match(place, /^[\w-]{22}$/)
  assert.equal(await publishPlace(state('box'), boot('one')), place)
  renameSync(state('box'), state('moved'))
  assert.equal(await publishPlace(state('moved'), boot('one')), place)
  symlinkSync(state('moved'), join(folder, 'link'))
  assert.equal(await publishPlace(join(folder, 'link'), boot('one')), place)
})

test('a copy of the folder is another place, and so is the same folder on a copy of the machine, or after a start', async (context) => {
  const { boot, state } = ground(context)
  const place = await publishPlace(state('box'), boot('one'))
  cpSync(state('box'), state('copy'), { recursive: true, preserveTimestamps: true })
  assert.notEqual(await publishPlace(state('copy'), boot('one')), place)
  assert.notEqual(await publishPlace(state('box'), boot('two')), place)
})

test('whoever works beside keepalive reads the place that it published last, and none before', async (context) => {
  const { boot, state } = ground(context)
  assert.equal(await readPlace(state('box')), undefined)
  const place = await publishPlace(state('box'), boot('one'))
  assert.equal(await readPlace(state('box')), place)
  assert.equal(statSync(join(state('box'), 'credentials', 'place')).mode & 0o777, 0o600)
  assert.equal(await readPlace(state('box')), await publishPlace(state('box'), boot('one')))
  assert.notEqual(await publishPlace(state('box'), boot('two')), place)
  assert.notEqual(await readPlace(state('box')), place)
})

test('what is no place is not taken for one', async (context) => {
  const { boot, state } = ground(context)
  await publishPlace(state('box'), boot('one'))
  const file = join(state('box'), 'credentials', 'place')
  for (const text of ['', 'a b', 'x'.repeat(65), '../../etc/passwd', '\u0000']) {
    writeFileSync(file, text)
    assert.equal(await readPlace(state('box')), undefined, JSON.stringify(text))
  }
})

test('where the machine does not say when it was started, nothing is published', async (context) => {
  const { folder, boot, state } = ground(context)
  await publishPlace(state('box'), boot('one'))
  const file = join(state('box'), 'credentials', 'place')
  const before = readFileSync(file, 'utf8')
  await assert.rejects(publishPlace(state('box'), join(folder, 'none')), { code: 'ENOENT' })
  assert.equal(readFileSync(file, 'utf8'), before)
})

test('this machine says when it was started', async (context) => {
  const { state } = ground(context)
  assert.equal(await publishPlace(state('box')), await publishPlace(state('box')))
})
