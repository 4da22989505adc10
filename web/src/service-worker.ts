/**
 * Offline use: caches the page, and the last responses of the feed, of posts and of their images.
 *
 * Without workbox, which would need a router, two strategies, an expiration plugin and a precache: about 8 kB
 * for the work of these 100 lines. Responses to requests with an identity are never cached.
 */
declare const __VERSION__: string;
declare const __ASSETS__: string[];

/** The header of responses from this cache; `api.ts` reads it. */
const CACHED_HEADER = "x-kept";
const PAGE = `page ${__VERSION__}`;
const READ = "read 1";
const IMAGES = "images 1";
const MAX_RESPONSES: Record<string, number> = { [READ]: 100, [IMAGES]: 300 };
const TRIM_EVERY = 50;
/** If the network does not answer for so long, the page comes from the cache. */
const PAGE_TIMEOUT_MS = 3_000;

const worker = self as unknown as ServiceWorkerGlobalScope;
const base = new URL("./", worker.location.href);
const shell = ["./", "./manifest.webmanifest", "./icon.svg", ...__ASSETS__.map((name) => `./${name}`)];

worker.addEventListener("install", (event) => {
  event.waitUntil(caches.open(PAGE).then((cache) => cache.addAll(shell)).then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(deleteFormerCaches().then(() => worker.clients.claim()));
});

async function deleteFormerCaches(): Promise<void> {
  const current = [PAGE, READ, IMAGES];
  const names = (await caches.keys()).filter((name) => /^(page|read|images) /.test(name));
  await Promise.all(names.filter((name) => !current.includes(name)).map((name) => caches.delete(name)));
}

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return;
  const answer = strategy(request, url.pathname.slice(base.pathname.length));
  if (answer !== null) event.respondWith(answer(request));
});

type Strategy = (request: Request) => Promise<Response>;

function strategy(request: Request, path: string): Strategy | null {
  if (path === "") return networkWithTimeout;
  if (path.startsWith("assets/") || path === "icon.svg") return cacheFirst(PAGE);
  if (path.startsWith("images/")) return cacheFirst(IMAGES);
  const hasIdentity = request.headers.has("authorization") || request.headers.has("user-id");
  return !hasIdentity && /^(posts|limits)\b/.test(path) ? networkFirst : null;
}

function cacheFirst(name: string): Strategy {
  return async (request) => {
    const cached = await caches.match(request, { cacheName: name, ignoreVary: true });
    return cached ?? storeLater(name, request, await fetch(request));
  };
}

async function networkFirst(request: Request): Promise<Response> {
  try {
    const order = (requestCount += 1);
    // Revalidate: the browser's own cache may answer without the network, some seconds late.
    return storeLater(READ, request, await fetch(request, { cache: "no-cache" }), order);
  } catch (error) {
    const cached = await caches.match(request, { cacheName: READ, ignoreVary: true });
    if (cached === undefined) throw error;
    return markCached(cached);
  }
}

/** The page from the network; from the cache after a network error or a timeout. */
async function networkWithTimeout(request: Request): Promise<Response> {
  const cached = await caches.match("./", { cacheName: PAGE });
  try {
    const patience = cached === undefined ? undefined : AbortSignal.timeout(PAGE_TIMEOUT_MS);
    return await fetch(request, patience === undefined ? {} : { signal: patience });
  } catch (error) {
    if (cached === undefined) throw error;
    return cached;
  }
}

function markCached(response: Response): Response {
  const headers = new Headers(response.headers);
  headers.set(CACHED_HEADER, "1");
  return new Response(response.body, { status: response.status, headers });
}

let requestCount = 0;
/** The order number of the cached response, by URL. */
const newestOrders = new Map<string, number>();

function storeLater(name: string, request: Request, response: Response, order = requestCount): Response {
  const isGone = response.status === 404 || response.status === 410;
  const isWhole = response.status === 200 && response.type === "basic";
  if (isGone || isWhole) void store(name, request, response.clone(), order).catch(() => undefined);
  return response;
}

/** Stores a response, unless the cache has the response of a later request. */
async function store(name: string, request: Request, response: Response, order: number): Promise<void> {
  const cache = await caches.open(name);
  const whole = new Response(await response.blob(), response);
  if (order < (newestOrders.get(request.url) ?? 0)) return;
  newestOrders.set(request.url, order);
  if (!whole.ok) {
    await cache.delete(request);
    return;
  }
  await cache.put(request, whole);
  await trim(name, cache);
}

const counts: Record<string, number> = {};

/** Deletes the oldest responses. Only now and then, because listing the cache makes an object for each. */
async function trim(name: string, cache: Cache): Promise<void> {
  const count = (counts[name] ?? -1) + 1;
  counts[name] = count;
  if (count % TRIM_EVERY !== 0) return;
  const max = MAX_RESPONSES[name] ?? Infinity;
  const requests = await cache.keys();
  await Promise.all(requests.slice(0, Math.max(0, requests.length - max)).map((request) => cache.delete(request)));
}

export {};
