// Serve tus from a folder with @tus/server: node server.mjs FOLDER [PORT]
import http from 'node:http'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [directory, port] = process.argv.slice(2)
const tus = new Server({ path: '/uploads', datastore: new FileStore({ directory }) })
const server = http.createServer((request, response) => tus.handle(request, response))
server.listen(Number(port ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
