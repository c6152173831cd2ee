import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { JsonFolder } from '#spool/json-folder.ts'

const base = mkdtempSync(join(tmpdir(), 's2-records-'))
after(() => rmSync(base, { recursive: true }))

interface Note {
  readonly id: string
  readonly text: string
}

function notesIn(path: string): JsonFolder<Note> {
  return new JsonFolder<Note>({
    path,
    holds: 'notes',
    parse: ({ id, text }) => (typeof id === 'string' && typeof text === 'string' ? { id, text } : null),
    nameOf: ({ id }) => id,
  })
}

test('records are listed in order, found, replaced whole and removed', async () => {
  const notes = notesIn(join(base, 'one'))
  assert.deepEqual([await notes.list(), notes.find('a')], [[], null])
  await notes.put({ id: 'b', text: 'second' })
  await notes.put({ id: 'a', text: 'first' })
  await notes.put({ id: 'b', text: 'again' })
  assert.deepEqual(await notes.list(), [
    { id: 'a', text: 'first' },
    { id: 'b', text: 'again' },
  ])
  await notes.remove('a')
  await notes.remove('a')
  assert.deepEqual([notes.find('a'), notes.find('b')?.text], [null, 'again'])
})

test('what is no record, is not named like it, is a link, or is too large is passed over', async () => {
  const path = join(base, 'two')
  const notes = notesIn(path)
  await notes.put({ id: 'good', text: 'kept' })
  writeFileSync(join(path, 'broken.json'), '{')
  writeFileSync(join(path, 'other.json'), '{"id":"good","text":"forged"}')
  writeFileSync(join(path, 'large.json'), JSON.stringify({ id: 'large', text: 'x'.repeat(70_000) }))
  writeFileSync(join(path, '.hidden.json'), '{"id":".hidden","text":"draft"}')
  mkdirSync(join(path, 'folder.json'))
  symlinkSync(join(path, 'good.json'), join(path, 'link.json'))
  assert.deepEqual(await notes.list(), [{ id: 'good', text: 'kept' }])
  assert.deepEqual(
    ['broken', 'other', 'large', 'folder', 'link'].map((name) => notes.find(name)),
    [null, null, null, null, null],
  )
})

test('a link in the place of the folder holds nothing, and is not written through', async () => {
  mkdirSync(join(base, 'elsewhere'))
  symlinkSync(join(base, 'elsewhere'), join(base, 'planted'))
  const notes = notesIn(join(base, 'planted'))
  assert.deepEqual(await notes.list(), [])
  await assert.rejects(notes.put({ id: 'a', text: 'secret' }))
  assert.ok(!existsSync(join(base, 'elsewhere', 'a.json')))
})
