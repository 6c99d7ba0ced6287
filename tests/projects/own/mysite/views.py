from django.http import HttpResponse


def home(request):
    return HttpResponse("The home page of the site")


def broken(request):
    raise RuntimeError("what the page of the site for errors is for")
